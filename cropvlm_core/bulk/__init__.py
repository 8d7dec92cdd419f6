"""Bulk jobs: thousands of pages, zoomed by several processes, into rows that outlive any of them.

::

    from cropvlm_core.bulk import zoom_pages

    report = zoom_pages("scans", ["What is the total?"], out="runs/totals")
    print(report.ok, report.failed, report.quarantined)
"""

from cropvlm_core.bulk.door import read_rows, zoom_pages
from cropvlm_core.bulk.results import BulkProgress, BulkReport

__all__ = ["BulkProgress", "BulkReport", "read_rows", "zoom_pages"]
