"""Labels and questions in languages other than English.

One line a field: ``kind | printed; printed | asked in the language; asked in English``.
"""

from __future__ import annotations

FOREIGN = {
    "de": """
code | Rechnungsnummer; Rechnungs-Nr.; Rechnung Nr. | Rechnungsnummer; invoice number
date | Rechnungsdatum; Datum der Rechnung | Rechnungsdatum; invoice date
code | Kundennummer; Kunden-Nr.; Kd.-Nr. | Kundennummer; customer number
person | Ansprechpartner; Sachbearbeiter; Bearbeiter | Ansprechpartner; contact person
date | Lieferdatum; Liefertermin | Lieferdatum; delivery date
code | Bestellnummer; Bestell-Nr.; Auftragsnummer | Bestellnummer; order number
code | Steuernummer; Steuer-Nr. | Steuernummer; tax number
date | Geburtsdatum; geb. am | Geburtsdatum; date of birth; Wann ist die Person geboren?
amount | Gesamtbetrag; Rechnungsbetrag | Gesamtbetrag; total amount
weight | Gewicht; Bruttogewicht | Gewicht; weight
code | Aktenzeichen; Geschäftszeichen | Aktenzeichen; file number
place | Wohnort; Ort | Wohnort; place of residence
code5 | Postleitzahl; PLZ | Postleitzahl; postal code
phone | Telefon; Telefonnummer; Tel. | Telefonnummer; phone number
job | Beruf; Tätigkeit | Beruf; occupation
date | Fälligkeit; Zahlbar bis; Fällig am | Fälligkeitsdatum; due date; Bis wann ist zu zahlen?
company | Auftraggeber; Kunde | Auftraggeber; client
company | Lieferant; Versender | Lieferant; supplier
int | Menge; Stückzahl | Menge; quantity
iban | Bankverbindung; Konto | Bankverbindung; bank account
""",
    "fr": """
code | N° de facture; Facture n°; Numéro de facture | numéro de facture; invoice number
date | Date de facture; Date de facturation | date de facture; invoice date
code | N° client; Code client; Référence client | numéro client; client number
date | Date d'échéance; Échéance | échéance; due date
code | N° de commande; Commande n° | numéro de commande; order number
person | Contact; Interlocuteur; Vendeur | interlocuteur; contact person
date | Date de naissance; Né(e) le | date de naissance; date of birth
place | Lieu de naissance; Né(e) à | lieu de naissance; place of birth
surname | Nom; Nom de famille | nom de famille; surname
firstname | Prénom; Prénoms | prénom; first name
amount | Montant; Montant total; Total TTC | montant total; total amount
weight | Poids; Poids brut | poids; weight
int | Quantité; Qté | quantité; quantity
phone | Téléphone; Tél. | téléphone; phone number
job | Profession; Métier | profession; occupation
code5 | Code postal | code postal; postal code
place | Ville; Commune | ville; town
company | Fournisseur; Société | fournisseur; supplier
code | N° de dossier; Dossier | numéro de dossier; file number
country | Pays; Pays d'origine | pays; country
""",
    "es": """
code | N.º de factura; Factura n.º; Número de factura | número de factura; invoice number
date | Fecha de factura; Fecha factura | fecha de factura; invoice date
date | Fecha de vencimiento; Vencimiento | fecha de vencimiento; due date
code | N.º de cliente; Código cliente | número de cliente; customer number
code | N.º de pedido; Pedido | número de pedido; order number
date | Fecha de nacimiento | fecha de nacimiento; date of birth
surname | Apellidos; Apellido | apellido; surname
firstname | Nombre; Nombres | nombre; first name
amount | Importe; Importe total; Total a pagar | importe total; total amount
weight | Peso; Peso bruto | peso; weight
int | Cantidad; Cant. | cantidad; quantity
phone | Teléfono; Tel. | teléfono; phone number
place | Ciudad; Población; Localidad | ciudad; town
country | País; País de origen | país; country
company | Proveedor; Empresa | proveedor; supplier
person | Vendedor; Atendido por | vendedor; salesperson
code | Expediente; N.º de expediente | expediente; file number
job | Profesión; Ocupación | profesión; occupation
""",
    "it": """
code | Fattura n.; Numero fattura; N. fattura | numero della fattura; invoice number
date | Data fattura; Data emissione | data della fattura; invoice date
date | Scadenza; Data scadenza | scadenza; due date
code | Codice cliente; Cliente n. | codice cliente; customer code
code | Ordine n.; Numero ordine | numero d'ordine; order number
date | Data di nascita; Nato il | data di nascita; date of birth
place | Luogo di nascita; Nato a | luogo di nascita; place of birth
surname | Cognome | cognome; surname
firstname | Nome | nome; first name
amount | Importo; Totale da pagare | importo; amount
weight | Peso; Peso lordo | peso; weight
int | Quantità; Q.tà | quantità; quantity
phone | Telefono; Tel. | telefono; phone number
place | Città; Comune | città; town
company | Fornitore; Ditta | fornitore; supplier
person | Referente; Agente | referente; contact person
code5 | CAP | CAP; postal code
code | Pratica n.; Protocollo | numero di protocollo; file number
""",
    "nl": """
code | Factuurnummer; Factuurnr. | factuurnummer; invoice number
date | Factuurdatum; Datum factuur | factuurdatum; invoice date
date | Vervaldatum; Betalen voor | vervaldatum; due date
code | Klantnummer; Klantnr. | klantnummer; customer number
code | Ordernummer; Bestelnummer | ordernummer; order number
date | Geboortedatum; Geboren op | geboortedatum; date of birth
person | Contactpersoon; Behandeld door | contactpersoon; contact person
amount | Bedrag; Totaalbedrag | totaalbedrag; total amount
weight | Gewicht; Brutogewicht | gewicht; weight
int | Aantal | aantal; quantity
phone | Telefoon; Telefoonnummer | telefoonnummer; phone number
place | Woonplaats; Plaats | woonplaats; town
code5 | Postcode | postcode; postal code
company | Leverancier; Bedrijf | leverancier; supplier
job | Beroep; Functie | beroep; occupation
code | Dossiernummer; Kenmerk | dossiernummer; file number
""",
    "pt": """
code | Fatura n.º; Número da fatura | número da fatura; invoice number
date | Data da fatura; Data de emissão | data da fatura; invoice date
date | Vencimento; Data de vencimento | vencimento; due date
code | Código do cliente; Cliente n.º | código do cliente; customer code
code | Pedido n.º; Número do pedido | número do pedido; order number
date | Data de nascimento | data de nascimento; date of birth
surname | Sobrenome; Apelido | sobrenome; surname
amount | Valor; Valor total; Total a pagar | valor total; total amount
weight | Peso; Peso bruto | peso; weight
int | Quantidade; Qtde. | quantidade; quantity
phone | Telefone; Tel. | telefone; phone number
place | Cidade; Município | cidade; city
company | Fornecedor; Empresa | fornecedor; supplier
person | Vendedor; Responsável | responsável; person responsible
country | País; País de origem | país; country
""",
    "ms": """
code | No. Invois; Nombor Invois | nombor invois; invoice number
date | Tarikh Invois | tarikh invois; invoice date
date | Tarikh Akhir; Bayar Sebelum | tarikh akhir; due date
code | No. Pelanggan; No. Akaun | nombor pelanggan; customer number
code | No. Pesanan; Nombor Pesanan | nombor pesanan; order number
date | Tarikh Lahir | tarikh lahir; date of birth
person | Nama; Nama Penuh | nama penuh; full name
code | No. Kad Pengenalan; No. K/P | nombor kad pengenalan; identity card number
amount | Jumlah Bayaran; Jumlah | jumlah bayaran; total amount
weight | Berat; Berat Kasar | berat; weight
int | Kuantiti; Bilangan | kuantiti; quantity
phone | No. Telefon; Telefon | nombor telefon; phone number
place | Bandar; Tempat | bandar; town
job | Pekerjaan; Jawatan | pekerjaan; occupation
company | Pembekal; Syarikat | syarikat; company
code5 | Poskod | poskod; postcode
""",
}

FORMS = {
    "de": "Was steht bei {q}?|{q}?|Wie lautet der Eintrag {q}?|Was steht im Feld {q}?|"
    "Welcher Wert steht neben {q}?|Bitte lies: {q}|Was steht unter {q}?|{q}",
    "fr": "Que lit-on pour {q} ?|{q} ?|Que dit le champ {q} ?|Quelle valeur est donnée pour {q} ?|"
    "Qu'est-ce qui est écrit à côté de {q} ?|{q}",
    "es": "¿Qué dice el campo {q}?|¿{q}?|{q}|¿Qué está escrito junto a {q}?|¿Cuál es el valor de {q}?",
    "it": "Cosa c'è scritto accanto a {q}?|{q}?|{q}|Che cosa dice il campo {q}?|Leggi: {q}",
    "nl": "Wat staat er bij {q}?|{q}?|{q}|Wat staat in het veld {q}?|Lees: {q}|Wat is {q}?",
    "pt": "O que diz o campo {q}?|{q}?|{q}|O que está escrito ao lado de {q}?|Qual é o valor de {q}?",
    "ms": "Apakah {q}?|{q}?|{q}|Apa yang tertulis di sebelah {q}?|Berapakah {q}?|Cari {q}.",
}
