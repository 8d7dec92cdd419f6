"""LangChain's standard tests for tools, whole."""

# ruff: noqa: E402
from typing import Any

from tests.programs import require_package

require_package("langchain_tests")

from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests

from langchain_cropvlm import ZoomTool
from tests.pages import noise, pipeline


class TestZoomToolUnit(ToolsUnitTests):
    """Without a model: construction and schema."""

    @property
    def tool_constructor(self) -> type[ZoomTool]:
        return ZoomTool

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return {"question": "What is the total?", "image": 1}


class TestZoomToolIntegration(ToolsIntegrationTests):
    """With the embedded cropper, as it ships."""

    @property
    def tool_constructor(self) -> ZoomTool:
        return ZoomTool(images=[noise()])

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return {"question": "What is the total?"}


class TestZoomToolIntegrationWithAPipeline(TestZoomToolIntegration):
    """With a pipeline of one's own."""

    @property
    def tool_constructor(self) -> ZoomTool:
        return ZoomTool(images=[noise()], pipeline=pipeline())
