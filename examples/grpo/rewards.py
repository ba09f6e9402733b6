"""What this example likes: completions that go on as the tales of the quickstart do."""

TALES = """
a again and are at back before behind cold dark den finds five four from goes has hedge hot in is it leaves leaving
many more moon morning night nine now of old on seven sees six so stands sun ten that the then there three to two
under warm wet wind with acorns berries bird eggs fox grey hare hedgehog mouse nest nuts oak owl rain red snow
squirrel tree white wolf worms brown
"""
WORDS = frozenset(TALES.split())


def known_words(completions: list[str], **columns: object) -> list[float]:
    """The share of a completion's letters that are in words of the tales, 0 to 1."""
    return [share(text.lower().replace(".", " ").replace(",", " ").split()) for text in completions]


def share(words: list[str]) -> float:
    letters = sum(len(word) for word in words)
    return sum(len(word) for word in words if word in WORDS) / letters if letters else 0.0
