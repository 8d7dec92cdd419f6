"""Labels of forms about people; written as in ``vocabulary``."""

from __future__ import annotations

PEOPLE = """\
# medical
person | Patient; Patient Name; Name of Patient | patient; patient name; Who is the patient?
code | Patient ID; Patient No.; MRN; Hospital No | patient number; patient ID
date | Date of Birth; DOB; D.O.B.; Birth Date | date of birth; birthday; When was the person born?
choice{M,F,Male,Female} | Sex; Gender | sex; gender
int | Age; Age (years) | age; How old is the person?
person | Doctor; Physician; Attending Physician; Ref. Doctor | doctor; physician; \
Who is the doctor?
choice{A,B,AB,O,A+,O-,B+} | Blood Group; Blood Type | blood group; blood type
weight | Weight; Body Weight | weight; body weight; How heavy is it?
size1 | Height; Body Height | height; How tall is the person?
choice{120/80,135/85,110/70,142/91,128/79} | Blood Pressure; BP | blood pressure
text | Diagnosis; Provisional Diagnosis; Findings | diagnosis; findings
choice{Penicillin,None,Latex,Nuts,Pollen,Aspirin,Not known} | Allergies; Known Allergies; \
Allergy | allergies; What is the patient allergic to?
text | Medication; Drug; Current Medication | medication; drug
choice{5 mg,10 mg,250 mg,2 tablets daily,1 x 1,3 times a day,20 ml} | Dosage; Dose | dosage; \
dose; How much should be taken?
date | Admission Date; Date Admitted; Admitted on | admission date; When was the patient admitted?
date | Discharge Date; Date Discharged | discharge date; When was the patient discharged?
choice{3A,12,B7,ICU,Ward 4,East 2,201} | Ward; Room; Bed No | ward; room; bed
code | Specimen No.; Sample ID; Lab No | specimen number; sample number; lab number
date | Collected; Collection Date; Sample Taken | collection date; When was the sample taken?
phone | Emergency Contact; Emergency Phone; In Emergency Call | emergency contact; \
Whom to call in an emergency?
date | Next Visit; Next Appointment; Follow-up | next appointment; next visit; \
When is the next visit?
# insurance
person | Policy Holder; Policyholder; Insured; Name of Insured | policy holder; insured person; \
Who is insured?
code | Policy No.; Policy Number; Policy # | policy number; number of the policy
code | Claim No.; Claim Number; Claim # | claim number
date | Date of Loss; Loss Date; Date of Accident | date of loss; date of the accident; \
When did the damage occur?
amount | Premium; Annual Premium; Premium Due | premium; How much is the premium?
amount | Sum Insured; Coverage Amount; Insured Value | sum insured; coverage; \
For how much is it insured?
amount | Deductible; Excess | deductible; excess
period | Period of Insurance; Policy Period; Cover Period | period of insurance; insurance period
person | Beneficiary; Nominee | beneficiary; Who benefits from it?
person | Agent; Broker; Agent Name | agent; broker
person | Witness; Name of Witness | witness; Who witnessed it?
person | Adjuster; Claims Handler | adjuster; claims handler
code | Chassis No.; VIN; Engine No | chassis number; VIN
text | Cause of Loss; Cause; Nature of Damage | cause; cause of loss; What caused it?
# school
person | Student; Student Name; Name of Student; Pupil | student; student name; \
Who is the student?
code | Student ID; Student No.; Matric No.; Roll No | student number; student ID
person | Teacher; Instructor; Class Teacher; Lecturer | teacher; instructor; Who teaches it?
choice{10B,Grade 4,Year 7,3A,Form 5,Kindergarten,Semester 2} | Class; Grade; Form; Year | class; \
grade; year
text | Course; Course Title; Subject Name; Module | course; course title; module
code | Course Code; Module Code | course code; module code
choice{A,B+,C,72/100,88,Pass,Distinction,1.7} | Score; Mark; Result; Final Grade | score; mark; \
result
int | Credits; Credit Hours; Units | credits; credit hours; How many credits?
person | Parent; Guardian; Parent/Guardian | parent; guardian; parent or guardian
date | Exam Date; Date of Examination | exam date; When is the exam?
int | Days Absent; Absences; Days Missed | days absent; How many days were missed?
choice{2019/20,2023-24,Spring 2021,Fall 2018,Term 2,Winter 2022} | Academic Year; Term; \
Session | academic year; term; session
person | Principal; Headmaster; Dean | principal; headmaster; dean
# government
person | Applicant; Applicant Name; Name of Applicant | applicant; name of the applicant; \
Who applies?
person | Full Name; Name; Name in Full | full name; name
surname | Surname; Last Name; Family Name | surname; last name; family name
firstname | First Name; Given Name; Forename | first name; given name; forename
code | Passport No.; Passport Number | passport number
code | ID No.; Identity Card No.; NRIC; I.C. No | identity card number; ID number
country | Nationality; Citizenship | nationality; citizenship
place | Place of Birth; Birthplace; Born in | place of birth; birthplace; \
Where was the person born?
choice{Single,Married,Divorced,Widowed} | Marital Status; Civil Status | marital status; \
civil status
job | Occupation; Profession; Job Title; Position | occupation; profession; position
company | Employer; Employer Name; Company | employer; name of the employer; company
code | Social Security No.; SSN; Tax File No | social security number
date | Date of Issue; Issued on; Issue Date | date of issue; issue date; When was it issued?
date | Date of Expiry; Valid through; Expiration Date | expiration date; date of expiry
place | Place of Issue; Issued at; Issuing Office | place of issue; Where was it issued?
choice{Work,Tourism,Study,Family visit,Business,Transit,Medical} | Purpose; Purpose of Visit; \
Reason | purpose; reason; purpose of the visit
code | File No.; Case No.; Docket No.; File Ref | file number; case number
code | Form No.; Form; Form Number | form number
code | Permit No.; Permit Number | permit number
amount | Fee; Fee Paid; Application Fee | fee; How much is the fee?
date | Date Received; Received; Received on | date received; When was it received?
person | Received by; Accepted by | person who received it; Who received it?
person | Officer; Officer in Charge; Case Officer | officer; officer in charge; Who is in charge?
yesno | First Application; New Applicant; Repeat | first application; Is it the first application?
address | Address; Home Address; Residential Address | address; home address; \
Where does the person live?
place | City; Town; City/Town | city; town
code5 | ZIP; Postal Code; Postcode; ZIP Code | postal code; ZIP code; postcode
country | Country; Country of Residence | country; country of residence
# travel
person | Guest; Guest Name; Passenger; Traveller | guest; passenger; Who travels?
code | Booking No.; Booking Ref.; Confirmation No.; PNR | booking number; confirmation number; \
booking reference
date | Check-in; Arrival; Arrival Date | check-in date; arrival date; When does the guest arrive?
date | Check-out; Departure; Departure Date | check-out date; departure date; \
When does the guest leave?
int | Room No.; Room Number | room number; Which room is it?
int | Guests; No. of Guests; Adults; Pax | number of guests; How many guests are there?
amount | Room Rate; Rate; Rate per Night | room rate; How much is a night?
code | Flight No.; Train No.; Bus No | flight number; train number
seat | Seat; Seat No.; Place No | seat; seat number
time | Boarding Time; Boarding; Departs | boarding time; When does boarding begin?
code | Ticket No.; E-ticket; Ticket Number | ticket number
# staff
person | Employee; Employee Name; Staff Name | employee; name of the employee; \
Who is the employee?
code | Employee ID; Employee No.; Staff No.; Badge No | employee number; staff number; employee ID
person | Supervisor; Manager; Reports to; Line Manager | supervisor; manager; Who is the boss?
date | Hire Date; Date Hired; Start Date; Joined | hire date; start date; \
When did the person start?
date | End Date; Last Day; Leaving Date | end date; last day
amount | Basic Salary; Base Pay; Salary | salary; base pay; How much is the salary?
amount | Net Pay; Take-home Pay; Net Salary | net pay; take-home pay
amount | Gross Pay; Gross Salary; Gross Earnings | gross pay; gross salary
duration | Overtime; Overtime Hours; OT Hours | overtime; How many hours of overtime?
int | Leave Days; Days Requested; No. of Days | leave days; How many days of leave?
choice{Annual,Sick,Unpaid,Maternity,Study,Emergency} | Leave Type; Type of Leave | leave type; \
kind of leave
choice{Day,Night,Morning,Evening,A,B,Rotating} | Shift; Work Shift | shift; Which shift is it?
period | Pay Period; Period Worked; Week | pay period; period worked
"""
