"""Prompts, written for this project, after which greedy decoding tends to repeat itself.

Open-ended beginnings: lists, chants, circular definitions, monotonous plans. Whether a model
loops on one is measured on that model.
"""

_BEGINNINGS = (
    "The best way to learn about {0} is",
    "Everybody in the village was talking about {0}, and",
    "Here is a list of everything I know about {0}:\n1.",
    "I think about {0} in the morning, I think about {0} at noon, and",
    "My favourite thing about {0} is that",
    "Question: Why is {0} important?\nAnswer:",
    "Dear diary, today was all about {0}. Tomorrow",
    "The purpose of {0} is to",
    "She wrote the word {0} on the wall again and again:",
    "First we talk about {0}, then we talk about {0}, and after that",
    "The report on {0} has three parts. The first part",
    "If {0} is the answer, then the question",
    "A short poem about {0}:\n\n",
    "The difference between {0} and other things is",
    "We need more {0} because",
    "The teacher asked about {0}. The children answered that",
    "All my friends say that {0}",
    "In conclusion, {0} is",
    "The museum of {0} opens every day at",
    "Rules for {0}:\n- Always",
)
_TOPICS = (
    "gardening", "bread", "the sea", "old trains", "chess", "clouds", "bicycles", "honey",
    "winter", "the moon", "libraries", "football", "tea", "maps",
)  # fmt: skip


def candidates() -> list[str]:
    """All 280 candidate prompts, each beginning with each topic."""
    return [beginning.format(topic) for topic in _TOPICS for beginning in _BEGINNINGS]
