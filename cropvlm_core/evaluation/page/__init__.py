"""report.html: what an evaluation found, in one file that fetches nothing.

``write_page`` writes it; ``choice`` picks the questions that are shown with pictures, ``summary``
and ``tables`` say the figures, ``plot`` and ``drawing`` draw them, ``exhibits`` is a question with
its pictures, ``excerpt`` a long answer made short. The look and the behaviour are in ``assets``.
"""

from cropvlm_core.evaluation.page.writing import write_page

__all__ = ["write_page"]
