"""What a command runs with where nobody stops it or looks at its progress."""


def never() -> bool:
    return False


def no_report(_: object) -> None:
    return
