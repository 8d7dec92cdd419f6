"""What is printed beside values on forms and orders, and what people call it when they ask.

One line a field: ``kind | printed; printed | asked; asked``. Wordings that end in ``?`` are whole
questions; the others are noun phrases that go into a template. The printed labels can be asked
too. A ``#`` line names the trade that the fields under it belong to.
"""

from __future__ import annotations

BUSINESS = """\
# trade
code | Invoice No.; Invoice #; Invoice Number; Inv. No | invoice number; number of the invoice; \
bill number
date | Invoice Date; Inv. Date; Date of Invoice | invoice date; date of the invoice; \
When was the invoice issued?
date | Due Date; Payment Due; Pay by | due date; payment deadline; When must this be paid?; \
By which date is payment due?
code | Order No.; Order #; Order Number; Our Order No | order number; number of the order
date | Order Date; Date Ordered; Ordered on | order date; date of the order; \
When was the order placed?
code | Purchase Order No; P.O. No.; PO #; PO Number; Purchase Order | purchase order number; \
PO number; PO
code | Customer No.; Customer ID; Cust. No; Client No | customer number; client number; \
customer ID
company | Customer; Customer Name; Client | customer; client; customer name; Who is the customer?
code | Quote No.; Quotation #; Quotation Ref | quote number; quotation number; \
number of the quotation
date | Valid Until; Quote Valid to; Expires on | end of validity; Until when is it valid?; \
date it expires
person | Salesperson; Sales Rep; Sales Rep.; Sold by | salesperson; sales representative; \
Who made the sale?
choice{Net 30,30 days net,Due on receipt,2/10 net 30,COD,Prepaid,Net 60,14 days} | Terms; \
Payment Terms; Terms of Payment | payment terms; terms of payment; How should it be paid?
choice{Cash,Cheque,Bank transfer,Credit card,Direct debit,PayPal} | Payment Method; Paid by; \
Method of Payment; Mode of Payment | payment method; way of paying
code | Tax ID; VAT No.; Tax Reg. No; GST No | tax ID; tax number; VAT number; \
tax registration number
choice{USD,EUR,GBP,MYR,SGD,CHF,AUD,JPY} | Currency; Curr. | currency; Which currency is used?
person | Contact; Contact Person; Contact Name; Attn | contact person; contact; \
Whom should one contact?
person | Buyer; Purchasing Agent; Purchaser | buyer; purchasing agent
person | Approved by; Authorised by; Authorized by | person who approved it; Who approved this?; \
Who authorised this?
person | Prepared by; Drawn up by; Created by | person who prepared it; Who prepared this?
person | Checked by; Verified by; Reviewed by | person who checked it; Who checked this?
person | Requested by; Requisitioner; Requester | requester; Who requested this?; \
Who asked for it?
company | Supplier; Supplier Name; Vendor; Vendor Name | supplier; vendor; Who is the supplier?
code | Vendor No.; Vendor ID; Supplier Code | vendor number; supplier code; vendor ID
code | Account No.; Account Number; Acct. No.; A/C No | account number; number of the account
code | Reference; Ref. No.; Our Ref.; Reference No | reference number; reference; our reference
code | Your Ref.; Your Reference; Customer Ref | your reference; customer's reference; \
customer reference
code | Project No.; Project Number; Job No.; Job # | project number; job number
text | Project; Project Name; Job Name; Job | project; project name; name of the job
text | Subject; Re; Regarding | subject; What is it about?
int | Page Count; No. of Pages; Pages | number of pages; page count; How many pages are there?
text | Remarks; Notes; Comments; Remark | remarks; comments; notes
choice{Open,Closed,Pending,Approved,Draft,Paid,Overdue,Cancelled,Shipped,New,Revised} | Status; \
Order Status; State | status; What status does it have?
int | Revision; Rev.; Rev. No; Version | revision; revision number; version
choice{Main Office,North,South,West,Central,East,Export,Online,Retail} | Branch; Sales Office; \
Office; Region | branch; office; region
choice{Sales,Finance,IT,HR,Logistics,Maintenance,Purchasing,Legal,R&D,Marketing} | Department; \
Dept.; Division | department; division; Which department is it?
code | Cost Centre; Cost Center; CC | cost centre; cost center
percent | Discount; Discount %; Trade Discount | discount; rate of discount; discount rate
amount | Deposit; Deposit Paid; Advance; Down Payment | deposit; down payment; \
How much was paid in advance?
amount | Credit Limit; Cr. Limit | credit limit; How much credit is allowed?
email | E-mail; Email; Email Address; E-Mail | email address; e-mail; email
phone | Phone; Telephone; Tel.; Phone No. | phone number; telephone number; telephone
phone | Fax; Fax No.; Telefax | fax number; fax
phone | Mobile; Mobile No.; Cell; Cell Phone | mobile number; cell phone number; mobile
url | Website; Web; Internet | website; web address
iban | IBAN; IBAN No.; Bank Account (IBAN) | IBAN; bank account number
code | BIC; SWIFT; SWIFT Code; BIC/SWIFT | BIC; SWIFT code
company | Bank; Bank Name; Name of Bank | bank; name of the bank; Which bank is it?
code | Licence No.; License #; Licence Number | licence number; license number
date | Print Date; Printed; Date Printed; Printed on | print date; When was this printed?; \
date of printing
time | Print Time; Time Printed | print time; time of printing
date | Date; Dated; Document Date | date; document date
time | Time; Clock Time | time; time of day
# advertising
company | Advertiser; Advertiser Name | advertiser; Who is the advertiser?; Who is advertising?
code | Advertiser Code; Advertiser ID; Adv. Code | advertiser code; code of the advertiser
company | Agency; Agency Name; Ad Agency | agency; name of the agency; Which agency booked this?
code | Agency Code; Agency ID; Agy. Code | agency code; code of the agency
percent | Agency Commission; Commission %; Agy. Comm. | agency commission; commission rate
text | Product; Product Desc; Product Name; Brand | product; product name; What is advertised?
code | Estimate #; Estimate No.; Estimate; Est. No | estimate number; estimate
code | Contract No.; Contract #; Contract Number | contract number; number of the contract
period | Flight Dates; Flight; Order Flight; Run Dates | flight dates; flight; \
When does the campaign run?
period | Contract Dates; Contract Period; Term | contract dates; contract period; \
period of the contract
person | Account Executive; Account Exec.; AE; Acct. Exec | account executive; \
Who handles the account?
person | Media Buyer; Buying Contact | media buyer; buying contact
choice{Weekly,Monthly,End of month,EOM/EOC,Quarterly,Annual,Bi-weekly} | Billing Cycle; \
Bill Cycle; Billing Frequency | billing cycle; how often it is billed
choice{Broadcast,Calendar,Standard,Fiscal} | Billing Calendar; Calendar Type | billing calendar; \
calendar used for billing
person | Billing Contact; Billing Attn | billing contact; contact for billing
choice{Cash,Trade,Barter,Invoice} | Cash/Trade; Billing Type; Deal Type | billing type; \
type of billing
choice{Adults 18+,Adults 25-54,Households,Women 18-49,Men 35+,Teens,RA35+,All} | Demographic; \
Demo; Target Group | demographic; target group; Which audience is targeted?
text | Special Handling; Special Instructions; Handling | special instructions; special handling
choice{Normal,Rush,Standard,Political,Local,National,Direct,Trial} | Order Type; Type of Order; \
Type | order type; kind of order
code | Station; Property; Channel; Outlet | station; property; channel
int | Spots; Total Spots; No. of Spots | number of spots; How many spots are there?
text | Campaign; Campaign Name | campaign; name of the campaign
code | Revenue Code; Rev. Code 1; Revenue Code 2 | revenue code
int | Priority; Prio. | priority
# shipping
code | Tracking No.; Tracking #; Tracking Number | tracking number; number for tracking
code | Waybill No.; AWB; Air Waybill; Consignment No | waybill number; consignment number
choice{UPS,DHL,FedEx,Road,Sea,Air freight,Courier,Own truck,Post} | Carrier; Ship via; \
Shipped via; Transport | carrier; means of transport; How is it shipped?
choice{FOB,EXW,CIF,DDP,DAP,FCA,FOB Origin,CFR} | Incoterms; F.O.B.; Delivery Terms | \
delivery terms; incoterms
date | Ship Date; Date Shipped; Shipping Date; Shipped on | ship date; shipping date; \
When was it shipped?
date | Delivery Date; Deliver by; Date of Delivery; ETA | delivery date; date of delivery; \
When will it be delivered?
code | Delivery Note; Delivery Note No; D.O. No | delivery note number; delivery order number
weight | Gross Weight; Gross Wt.; Gr. Weight; G.W. | gross weight
weight | Net Weight; Net Wt.; Net Wt; N.W. | net weight
weight | Tare; Tare Weight | tare weight; tare
size | Dimensions; Dims; Size (LxWxH); Measurements | dimensions; measurements; How large is it?
int | Packages; No. of Packages; Cartons; Pieces | number of packages; How many pieces are there?
place | Port of Loading; Loading Port; Origin; From | origin; port of loading; \
Where does it come from?
place | Port of Discharge; Destination; Final Destination | destination; port of discharge; \
Where does it go?
country | Country of Origin; Made in; Country of Manufacture | country of origin; \
Where was it made?
code | Container No.; Container #; Container | container number; container
code | Seal No.; Seal Number; Seal | seal number
company | Consignee; Receiver; Recipient | consignee; receiver; Who receives the goods?
company | Shipper; Consignor; Sender | shipper; sender; Who sends the goods?
company | Notify Party; Also Notify | notify party
code | Vessel; Vessel/Voyage; Voyage No | vessel; voyage
person | Driver; Driver Name | driver; name of the driver
code | Vehicle No.; Truck No.; Plate No.; Registration | vehicle number; truck number; \
number plate
code | Batch; Batch No.; Lot; Lot No.; LOT | batch number; lot number; batch; lot
date | Best Before; Use by; EXP; Expiry Date; Exp. Date | best before date; expiry date; \
When does it expire?
date | Mfg. Date; Manufactured; Date of Manufacture; MFD | manufacturing date; When was it made?
code | Article No.; Item No.; Part No.; P/N; SKU; Stock Code | article number; part number; \
item number
code | Serial No.; S/N; Serial Number | serial number
int | Quantity; Qty; QTY.; Amount of Units | quantity; How many units are there?
code | Barcode; EAN; GTIN | barcode number; EAN
code | Customs Code; HS Code; Tariff No | customs code; HS code; tariff number
temp | Storage Temp.; Keep at; Storage Temperature | storage temperature; \
At what temperature must it be kept?
code | Route; Route Code; Zone | route; zone
code | Dock; Gate; Bay | dock; gate
# engineering
code | Drawing No.; Drawing Number; Dwg. No.; DWG | drawing number
choice{1:1,1:2,1:5,1:10,1:50,1:100,2:1,NTS} | Scale; Drawing Scale | scale
choice{Steel,Aluminium,Brass,ABS,Copper,Stainless 304,PVC,Oak,Nylon} | Material; Mat.; \
Material Spec | material; What is it made of?
choice{Painted,Anodised,Zinc plated,Polished,Raw,Powder coat} | Finish; Surface Finish; \
Coating | finish; surface; coating
size1 | Tolerance; General Tolerance; Tol. | tolerance
person | Drawn by; Designer; Drawn | designer; Who drew this?
person | Engineer; Project Engineer; Responsible Engineer | engineer; engineer responsible
person | Inspector; Inspected by; QC Inspector | inspector; Who inspected it?
choice{Pass,Fail,OK,Rework,Accepted,Rejected} | Test Result; Inspection Result; QC | \
test result; result of the inspection
code | Model; Model No.; Type No.; Model Number | model number; model
voltage | Voltage; Rated Voltage; Input; Supply | voltage; rated voltage; input
power | Power; Rated Power; Output | power; rated power; output
temp | Operating Temp.; Max. Temperature; Temp. Range | operating temperature; maximum temperature
code | Work Order; Work Order No.; W.O. # | work order; work order number
int | Machine; Machine No.; Line | machine number; line
duration | Duration; Run Time; Labour Hours; Hours | duration; hours; How long did it take?
# bank
code | Statement No.; Statement Number | statement number; number of the statement
date | Statement Date; Date of Statement | statement date; date of the statement
period | Statement Period; Period; Billing Period | statement period; period; \
Which period is covered?
amount | Opening Balance; Previous Balance; Balance Forward | opening balance; previous balance; \
balance at the start
amount | Closing Balance; New Balance; Ending Balance | closing balance; new balance; \
balance at the end
amount | Available Credit; Available Funds | available credit; available funds
amount | Minimum Payment; Minimum Due; Min. Payment | minimum payment; least amount to pay
amount | Interest; Interest Charged; Interest Paid | interest; How much interest is there?
percent | Interest Rate; APR; Rate of Interest | interest rate; APR
choice{Savings,Checking,Current,Business Plus,Basic,Premier,Giro} | Account Type; \
Type of Account | account type; kind of account
person | Account Holder; Account Name; Holder | account holder; holder of the account; \
Whose account is it?
code | Branch Code; Sort Code; Routing No | branch code; sort code; routing number
amount | Total Credits; Money in; Deposits | total credits; deposits; money coming in
amount | Total Debits; Money out; Withdrawals | total debits; withdrawals; money going out
# utility
code | Meter No.; Meter Number; Meter ID | meter number
int | Previous Reading; Last Reading | previous reading; last meter reading
int | Current Reading; Present Reading; This Reading | current reading; present meter reading
usage | Usage; Consumption; Units Used | usage; consumption; How much was used?
choice{Domestic,Commercial,Residential,Industrial,Tariff A,Off-peak} | Tariff; Rate Class; \
Tariff Class | tariff; rate class
address | Service Address; Premises; Supply Address | service address; address of the premises
date | Reading Date; Date Read; Meter Read on | reading date; When was the meter read?
date | Next Reading; Next Read Date | next reading date; When is the next reading?
amount | Amount Past Due; Arrears; Overdue Amount | amount past due; arrears
amount | Last Payment; Payment Received; Amount Received | last payment; payment received
"""
