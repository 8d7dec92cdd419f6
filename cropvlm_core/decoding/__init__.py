"""From the bytes of a picture file to upright RGB pixels.

Two steps, in this order. *Survey* (one module a format): the file's parts are walked in Python,
counted and measured, and a bare copy is made that holds what makes pixels and nothing else: no
profile, no metadata, no comment, no second picture, no byte after the end. *Decode*: Pillow sees
the bare copy only, in this process or in a worker (:mod:`cropvlm_core.isolation`). PDF pages are
drawn by pdfium, in a worker only.
"""
