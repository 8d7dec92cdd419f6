"""The two things we ever say to a model (CropVLM, arXiv 2511.19820, section on training data)."""


def cropper_prompt(question: str) -> str:
    """Ask the policy for the box worth looking at."""
    return f"{question}\nOutline the region in the image that would help answer this question."


def answer_prompt(question: str) -> str:
    """Ask the target, or the reward model, for the answer."""
    return f"{question}\nGive a very brief answer."
