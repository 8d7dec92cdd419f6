"""Bulk jobs past one machine, on Ray Data (extra ``ray``).

::

    from cropvlm_core.bulk.ray_engine import zoom_pages

    report = zoom_pages("s3://bucket/scans", ["What is the total?"], out="s3://bucket/totals")

In a pipeline of your own::

    from cropvlm_core.bulk.ray_engine import zoom_dataset

    rows = zoom_dataset(ray.data.read_parquet("s3://bucket/pages"), workers=8)
"""

from typing import TYPE_CHECKING

from cropvlm_core.face import lazy_names

if TYPE_CHECKING:
    from cropvlm_core.bulk.ray_engine.job import read_rows, zoom_pages
    from cropvlm_core.bulk.ray_engine.rows import SCHEMA
    from cropvlm_core.bulk.ray_engine.stage import ZoomPages, zoom_dataset

__all__ = ["SCHEMA", "ZoomPages", "read_rows", "zoom_dataset", "zoom_pages"]

__getattr__ = lazy_names(
    __name__,
    {
        "SCHEMA": "rows",
        "ZoomPages": "stage",
        "read_rows": "job",
        "zoom_dataset": "stage",
        "zoom_pages": "job",
    },
    extra="ray",
    needs=("ray", "pyarrow"),
)
