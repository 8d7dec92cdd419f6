"""The embedded cropper on a user's own documents: answers, no boxes, a frozen reader.

::

    plan.py      what a run is told
    material.py  pages to learn from, pages kept back; what needs no crop is left out
    locate.py    where a known answer stands, as Tesseract reads the page
    learning.py  one step: on places that were found, on rewards of the reader, on rendered pages
    schedule.py  the steps of a run by the clock, and its checkpoint; stopping.py  signals
    measure.py   what a weight file does on pages that were kept back
    run.py       a whole run
"""
