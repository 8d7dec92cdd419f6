"use strict";
// Everything from the data goes through text nodes and attributes set by name: never into markup.
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const find = (id) => document.getElementById(id);
  const about = read("report");
  const questions = Array.from(document.querySelectorAll("script.question"), (block) => JSON.parse(block.textContent));
  const [list, detail] = [find("list"), find("question")];
  let matching = [];
  let at = 0;

  function make(tag, attributes = {}, ...children) {
    const drawing = ["svg", "rect", "path", "image", "clipPath"].includes(tag);
    const element = drawing ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children.filter((child) => child !== null && child !== ""));
    return element;
  }
  const words = (text, tag = "bdi") => make(tag, { dir: "auto" }, String(text ?? "–"));
  const percent = (share) => (share === null ? "–" : `${(100 * share).toFixed(1)} %`);

  const chosenView = () => about.views[Number(find("view").value)];
  const isRight = (view) => view.score >= 0.5;
  function outcome(question, name) {
    const [before, after] = [question.views[about.baseline], question.views[name]];
    if (!before || !after || before.score === null || after.score === null) return "";
    if (isRight(before)) return isRight(after) ? "both right" : "harmed";
    return isRight(after) ? "rescued" : "both wrong";
  }
  const SIGNS = { rescued: "▲", harmed: "▼", "both right": "●", "both wrong": "○" };
  function outcomeMark(question, name) {
    const kind = outcome(question, name);
    return kind ? make("span", { class: `outcome ${kind.replace(" ", "-")}` }, `${SIGNS[kind]} ${kind}`) : "";
  }
  function hitWord(view) {
    if (!view || view.hit === null) return "unknown";
    return view.hit ? "hit" : "miss";
  }

  // ---- which questions match

  function haystack(question) {
    const said = Object.values(question.views).map((view) => view.answer && (view.answer.whole ?? view.answer.before + view.answer.match + view.answer.after));
    return [question.question, question.id, question.document, ...question.answers, ...said].join("\n").toLowerCase();
  }
  for (const question of questions) question.text = haystack(question);

  function matches(question) {
    const { view } = chosenView();
    const wanted = find("words").value.trim().toLowerCase();
    const is = (id, value) => !find(id).value || find(id).value === value;
    return (
      view in question.views &&
      is("outcome", outcome(question, view)) &&
      is("set", `=${question.set ?? ""}`) &&
      is("field", `=${question.field ?? ""}`) &&
      is("hit", hitWord(question.views[view])) &&
      wanted.split(/\s+/).every((word) => question.text.includes(word))
    );
  }

  function filter() {
    const kept = matching[at];
    matching = questions.filter(matches);
    at = Math.max(0, matching.indexOf(kept));
    find("count").textContent =
      `${matching.length} of the ${questions.length} ${questions.length === 1 ? "question" : "questions"} here ${matching.length === 1 ? "matches" : "match"}`;
    const { view } = chosenView();
    list.replaceChildren(
      ...matching.map((question, index) => {
        const where = [question.field ?? question.set, question.document].filter(Boolean).map((part) => words(part));
        const line = make("small", {}, outcomeMark(question, view), ...where.flatMap((part) => [" · ", part]));
        const option = make("li", { role: "option", id: `option-${index}` }, words(question.question, "span"), line);
        option.firstChild.classList.add("asked");
        option.addEventListener("click", () => go(index, "list"));
        return option;
      }),
    );
    find("stage").hidden = matching.length === 0;
    go(at, "");
  }

  // ---- moving

  function go(index, focus) {
    if (!matching.length) return;
    list.children[at]?.setAttribute("aria-selected", "false");
    for (const option of list.children) option.tabIndex = -1;
    at = Math.min(Math.max(index, 0), matching.length - 1);
    const option = list.children[at];
    option.setAttribute("aria-selected", "true");
    option.tabIndex = 0;
    const [top, bottom] = [option.offsetTop - list.offsetTop, option.offsetTop - list.offsetTop + option.offsetHeight];
    if (top < list.scrollTop) list.scrollTop = top;
    if (bottom > list.scrollTop + list.clientHeight) list.scrollTop = bottom - list.clientHeight;
    show(matching[at]);
    // A preview in a sandbox has no address that could name the question.
    if (focus && location.protocol !== "about:") history.replaceState(null, "", `#question-${matching[at].number}`);
    if (focus === "list") option.focus({ preventScroll: true });
    if (focus === "detail") find("question-title").focus({ preventScroll: true });
  }

  find("browser").addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.matches("input, select, textarea")) return;
    const inList = list.contains(event.target);
    const jumps = { j: at + 1, k: at - 1 };
    if (inList) Object.assign(jumps, { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: matching.length - 1, PageDown: at + 10, PageUp: at - 10 });
    if (event.key in jumps) go(jumps[event.key], inList ? "list" : detail.contains(event.target) ? "detail" : "");
    else if (event.key === "Enter" && inList) find("question-title").focus();
    else if (event.key === "Escape" && detail.contains(event.target)) list.children[at].focus();
    else return;
    event.preventDefault();
  });

  // ---- one question

  const pictureOf = (id) => (id ? read(id) : null);

  function rectangle(box, [width, height], kind) {
    const [left, top, right, bottom] = box;
    return make("rect", { class: kind, x: left * width, y: top * height, width: (right - left) * width, height: (bottom - top) * height });
  }
  function overlay(question, view) {
    const size = question.size;
    const drawing = make("svg", { viewBox: `0 0 ${size[0]} ${size[1]}`, preserveAspectRatio: "none", "aria-hidden": "true" });
    const outline = ([left, top, right, bottom]) => `M${left * size[0]} ${top * size[1]}H${right * size[0]}V${bottom * size[1]}H${left * size[0]}Z`;
    const around = outline([-1, -1, 2, 2]);
    if (view.boxes.length) drawing.append(make("path", { class: "shade", d: outline([0, 0, 1, 1]) + view.boxes.map(outline).join("") }));
    for (const [boxes, kind] of [[view.boxes, "crop-box"], [question.boxes, "truth-box"]])
      boxes.forEach((box, index) => {
        // Lines lie outside of their box, so that they cover nothing of what it holds.
        const clip = make("clipPath", { id: `${kind}-${index}` }, make("path", { "clip-rule": "evenodd", d: `${around}${outline(box)}` }));
        drawing.append(clip);
        for (const line of [kind === "crop-box" ? "halo" : "under", kind]) {
          const drawn = rectangle(box, size, line);
          drawn.setAttribute("clip-path", `url(#${clip.id})`);
          drawing.append(drawn);
        }
      });
    return drawing;
  }
  function key(kind, text) {
    const sample = make("svg", { viewBox: "0 0 32 16", "aria-hidden": "true" }, make("rect", { class: kind, x: 3, y: 3, width: 26, height: 10 }));
    return make("span", {}, sample, text);
  }

  function pagePicture(question, view, name) {
    if (!question.page) return make("p", { class: "note" }, "The page could not be opened again: ", words(question.missing));
    const alternative = `Page of ${question.document ?? "this question"} with ${view.boxes.length} proposed and ${question.boxes.length} true boxes`;
    const image = make("img", { src: pictureOf(question.page), alt: alternative });
    const legend = make("figcaption", { class: "legend" });
    if (view.boxes.length) legend.append(key("crop-box", make("span", {}, "crop of ", words(name))));
    if (question.boxes.length) legend.append(key("truth-box", "where the answer stands"));
    return make("figure", {}, make("div", { class: "canvas" }, image, overlay(question, view)), legend);
  }

  function cutPicture(question, box, picture) {
    const [left, top, right, bottom] = box;
    if (picture) return make("img", { src: pictureOf(picture), alt: "The crop" });
    const [width, height] = question.size;
    const frame = [left * width, top * height, (right - left) * width, (bottom - top) * height];
    // no picture of its own: enlarged from the small page
    const cut = make("svg", { viewBox: frame.join(" "), role: "img", "aria-label": "The crop, enlarged from the small page" });
    cut.setAttribute("width", Math.min(600, frame[2]));
    cut.append(make("image", { href: pictureOf(question.page), width, height, preserveAspectRatio: "none" }));
    return cut;
  }

  function cuts(question, view, name) {
    const part = make("div", { class: "cuts" });
    if (!view.boxes.length) {
      const reason = about.reasons[view.reason];
      part.append(make("p", { class: "note" }, reason ? `No crop: ${reason}.` : "No crop in this view."));
    }
    if (!question.page) return part;
    view.boxes.forEach((box, index) => {
      const [width, height] = [(box[2] - box[0]) * question.size[0], (box[3] - box[1]) * question.size[1]].map(Math.round);
      const facts = [`${width} × ${height} pixels`, `${percent((box[2] - box[0]) * (box[3] - box[1]))} of the page`];
      if (index === 0 && view.confidence !== null) facts.push(`confidence ${view.confidence.toFixed(2)}`);
      const caption = make("figcaption", {}, `Crop ${view.boxes.length > 1 ? index + 1 : ""} of `, words(name), `: ${facts.join(", ")}`);
      part.append(make("figure", {}, cutPicture(question, box, view.pictures[index]), caption));
    });
    if (view.hit !== null && view.boxes.length) part.append(make("p", {}, view.hit ? "✓ The answer lies inside it (hit)." : "✗ The answer does not lie inside it (miss)."));
    return part;
  }

  function said(answer) {
    const cell = make("td", { class: "said" });
    if (!answer) return cell.append("–"), cell;
    cell.append(make("span", { dir: "auto" }, answer.before, answer.match ? make("mark", {}, answer.match) : null, answer.after));
    if (!(answer.before + answer.match + answer.after).trim()) cell.append(make("span", { class: "note" }, "(nothing)"));
    if (answer.whole !== null) {
      const more = answer.more ? `\n… ${answer.more.toLocaleString("en")} more characters in rows.jsonl` : "";
      cell.append(make("details", {}, make("summary", {}, "Whole answer"), make("pre", { dir: "auto", tabindex: 0 }, answer.whole + more)));
    }
    return cell;
  }

  // The answers of two views are open; those of the others open on demand, and stay so.
  let othersOpen = false;
  function answers(question, name) {
    const first = (told) => told.view === about.baseline || told.view === name;
    const views = about.views.filter((told) => told.view in question.views);
    const summary = make("summary", {}, `The other views (${views.filter((told) => !first(told)).length})`);
    const more = make("details", {}, summary,
      answerTable(question, views.filter((told) => !first(told)), "The answers of the other views"));
    more.open = othersOpen;
    // Not the event "toggle": it comes later, maybe when the next question is shown already.
    summary.addEventListener("click", () => (othersOpen = !more.open));
    const caption = about.scored ? "Without and with the crop; the marked letters fit a right answer best" : "Without and with the crop";
    return [answerTable(question, views.filter(first), caption), more];
  }
  function answerTable(question, views, caption) {
    const counted = views.some((told) => question.views[told.view].tokens !== null);
    const heads = ["View", ...(about.scored ? ["Score", "Answer"] : []), "Crop", "Hit", ...(counted ? ["Tokens"] : [])];
    const rows = views.map((told) => {
      const view = question.views[told.view];
      const row = make("tr", {}, make("th", { scope: "row" }, words(told.view), make("small", {}, told.kind)));
      if (about.scored) {
        const right = view.score !== null && isRight(view);
        const score = view.score === null ? "–" : `${right ? "✓" : "✗"} ${Number(view.score.toFixed(2))}`;
        row.append(make("td", { class: `number ${right ? "right" : "wrong"}` }, score), said(view.answer));
      }
      row.append(make("td", { class: "number" }, view.boxes.length ? percent(view.area) : "whole page"));
      row.append(make("td", { class: "number" }, { hit: "✓ hit", miss: "✗ miss", unknown: "–" }[hitWord(view)]));
      if (counted) row.append(make("td", { class: "number" }, view.tokens === null ? "–" : view.tokens.toLocaleString("en")));
      return row;
    });
    return make("div", { class: "scroll", role: "region", tabindex: 0, "aria-label": caption },
      make("table", { class: about.scored ? "answers scored" : "answers" }, make("caption", {}, caption),
        make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col" }, head)))), make("tbody", {}, ...rows)));
  }

  function step(text, move, disabled) {
    const button = make("button", { type: "button", "aria-keyshortcuts": move > 0 ? "j" : "k" }, text);
    button.disabled = disabled;
    button.addEventListener("click", () => go(at + move, "detail"));
    return button;
  }

  function show(question) {
    const name = chosenView().view;
    const view = question.views[name];
    const where = [["set", question.set], ["field", question.field], ["document", question.document], ["id", question.id]]
      .filter(([, value]) => value).flatMap(([label, value]) => [` · ${label} `, words(value)]);
    const right = question.answers.flatMap((answer, index) => [index ? " or " : "", words(answer, "strong")]);
    detail.replaceChildren(
      make("div", { class: "top" },
        make("p", {}, `Question ${at + 1} of ${matching.length}`, ...where),
        make("div", { class: "steps" }, step("Previous", -1, at === 0), step("Next", 1, at === matching.length - 1))),
      make("h3", { id: "question-title", tabindex: -1, dir: "auto" }, question.question),
      make("p", {}, outcomeMark(question, name), outcome(question, name) ? " · " : "", right.length ? "Right answer: " : "No right answer is known.", ...right),
      make("div", { class: "pictures" }, pagePicture(question, view, name), cuts(question, view, name)),
      ...answers(question, name),
    );
  }

  // ---- begin

  for (const [id, key] of [["set", "set"], ["field", "field"]]) {
    const values = [...new Set(questions.map((question) => question[key] ?? ""))].sort();
    find(id).append(...values.map((value) => make("option", { value: `=${value}` }, value || "(none)")));
  }
  if (!about.scored) find("outcome").disabled = true;
  if (!questions.length || !find("view").options.length) {
    find("count").textContent = "No question is shown here.";
    return;
  }
  find("filters").hidden = find("keys").hidden = false;
  find("filters").addEventListener("submit", (event) => event.preventDefault());
  find("filters").addEventListener("input", filter);
  find("filters").addEventListener("reset", () => setTimeout(filter));
  const asked = questions.find((question) => location.hash === `#question-${question.number}`);
  matching = questions;
  at = Math.max(0, questions.indexOf(asked));
  filter();
  if (asked) find("browser").scrollIntoView();
})();
