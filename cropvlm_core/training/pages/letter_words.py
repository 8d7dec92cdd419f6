"""What people ask about a letter, and phrases that letters are made of."""

from __future__ import annotations

SENDER = (
    "Who sent this letter?|Which company wrote this letter?|Which organisation is the letter from?|"
    "What name is on the letterhead?|Who is the sender?|From which company is this {d}?|letterhead company|"
    "Name of the organisation that writes?|Whose letter is this?|Which firm or office is writing here?"
)
SENDER_PLACE = (
    "What is the sender's address?|What address is on the letterhead?|Where is the sender located?|"
    "What is the address of {n}?|address of the sender|Where does this letter come from?"
)
ADDRESSEE = (
    "To whom is this letter addressed?|Who is the addressee?|Who is the letter written to?|"
    "Who receives this letter?|What is the name of the recipient?|addressee?|Name the recipient.|"
    "Who is being written to?|For whom is the {d} meant?"
)
ADDRESSEE_PLACE = (
    "What is the recipient's address?|To which address was this sent?|What is the address of the addressee?|"
    "Where does the addressee live or work?|address of {n}|What is the address of {n}?"
)
DATE = (
    "What is the date of this letter?|When was this letter written?|On which date was the {d} written?|"
    "What is the date on the letter?|Which date does the letter bear?|date of the letter|Date?|"
    "When was this {d} sent?|What date is typed on this {d}?|On what day was it written?|dated when?"
)
SUBJECT = (
    "What is the subject of the letter?|What is this letter about?|What is the subject line?|Subject?|"
    "What does the {d} concern?|Which matter is the letter about?|Read the subject.|"
    "What stands in the subject line?|Re: what?|Topic of the {d}?"
)
SIGNER = (
    "Who signed this letter?|Who wrote this letter?|What is the name of the signer?|Who is the author?|"
    "Whose name stands at the end of the letter?|Who signed the {d}?|By whom is it signed?|signed by|"
    "Who is the person signing?|Which name stands below the signature?|Who put their name to it?"
)
ROLE = (
    "What is the position of {n}?|What is the job title of the signer?|Which post does {n} hold?|"
    "What is the title of {n}?|In which role was the letter signed?|job title of {n}"
)
GREETING = "How does the letter begin?|What is the salutation?|How is the reader greeted?|What is the greeting?"
CLOSING = (
    "How does the letter close?|What is the closing phrase?|Which words stand before the signature?|"
    "Which polite phrase ends the {d}?|What is written just before the signature?"
)
COPY = "Who gets a copy?|Who is copied on this letter?|Who is in cc?|To whom does a copy go?"
INLINE = {
    "amount": ("amount of {v} is still to be paid|sum of {v} has been credited|total of {v} was transferred",
               "What amount is mentioned in the letter?|Which sum of money is mentioned?|How much money is it about?|"
               "What amount of money is named in the text?"),
    "deadline": ("reply no later than {v}|answer us before {v}|return the form by {v}",
                 "By when should one reply?|What is the deadline?|Until which date must one answer?|"
                 "What is the latest date for the reply?"),
    "meeting": ("meeting will take place on {v}|appointment is set for {v}|inspection will be held on {v}",
                "When does the meeting or appointment take place?|On which date is it held?|"
                "For when is the appointment?|On which day does it take place?"),
    "number": ("case {v} has been closed|contract {v} will be renewed|claim {v} was accepted",
               "Which case or contract is mentioned in the text?|What number does the text mention?|"
               "Which file does the letter speak of?"),
    "phone": ("please call {v} for questions|you can reach us at {v}|our hotline is {v}",
              "Which number can be called for questions?|What phone number is given in the text?|"
              "At which number can they be reached?"),
    "clock": ("we open at {v} every day|doors open at {v} sharp|please come at {v}",
              "At what time should one come?|What time is mentioned?|Which time of day is given in the text?"),
    "colleague": ("please contact {v} in our office|our colleague {v} will help|ask for {v} at the desk",
                  "Whom should the reader contact?|Which colleague is mentioned in the text?|Who will help?"),
}  # fmt: skip
ROLES = (
    "Managing Director|Head of Sales|Secretary|Customer Service|Director|Principal|Chief Accountant|"
    "Branch Manager|Claims Department|Registrar|Human Resources|Project Manager|President|Treasurer|"
    "Vice President, Operations|Office Manager|Chairperson|Legal Counsel|Head of Department"
).split("|")
ELSEWHERE = (
    "phone number|contact person|full name|address|subject|requester|receiver|sender|your reference"
)
CLOSINGS = (
    "Yours sincerely,|Yours faithfully,|Sincerely,|Kind regards,|Best regards,|With best wishes,|"
    "Respectfully,|Yours truly,|Cordially,"
).split("|")
