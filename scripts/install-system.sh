#!/usr/bin/env bash
# Install the system programs that the tests, the page renderer and `ocr` use: fonts, Tesseract with
# its English data, and Chromium, in which the evaluation's page is tested.
#
# Debian and its relatives only; elsewhere it says so and changes nothing. Running it again is
# harmless: what is there already is not touched.
set -euo pipefail

packages=(
  # reads text: the cropper `ocr` and the target `tesseract@N`
  tesseract-ocr
  tesseract-ocr-eng
  # opens the evaluation's page in the tests
  chromium
  openssl # makes the certificate of the tests' own server
  # lays out the pages of HTML that training draws (WeasyPrint)
  libpango-1.0-0
  libpangoft2-1.0-0
  libharfbuzz-subset0
  # fonts that pages are rendered with (never copied into the repository)
  fontconfig
  fonts-anonymous-pro
  fonts-b612
  fonts-cantarell
  fonts-comic-neue
  fonts-courier-prime
  fonts-croscore
  fonts-crosextra-caladea
  fonts-crosextra-carlito
  fonts-dejavu
  fonts-freefont-ttf
  fonts-hack
  fonts-inconsolata
  fonts-jetbrains-mono
  fonts-lato
  fonts-league-mono
  fonts-liberation
  fonts-linuxlibertine
  fonts-monofur
  fonts-mononoki
  fonts-noto-core
  fonts-noto-mono
  fonts-ocr-b
  fonts-open-sans
  fonts-oxygen
  fonts-quicksand
  fonts-roboto-unhinted
  fonts-urw-base35
)

if ! command -v apt-get >/dev/null 2>&1; then
  echo "install-system: no apt-get here. Install Tesseract, Chromium and fonts by hand;" \
       "tests that need a missing program are skipped."
  exit 0
fi

missing=()
for package in "${packages[@]}"; do
  state=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$state" = installed ] || missing+=("$package")
done
if [ "${#missing[@]}" -eq 0 ]; then
  echo "install-system: all ${#packages[@]} packages are there already."
  exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null 2>&1; then
    echo "install-system: not root and no sudo. Have someone install: ${missing[*]}"
    exit 0
  fi
  as_root=(sudo)
fi

echo "install-system: installing ${#missing[@]} packages: ${missing[*]}"
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
echo "install-system: done."
