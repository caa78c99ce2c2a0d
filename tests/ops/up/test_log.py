"""One log of many processes."""

import io

from ops.up.log import PrefixedLog


def test_lines_stand_behind_prefixes_of_one_width() -> None:
    stream = io.StringIO()
    log = PrefixedLog(["boxes.1", "region-captions.1"], stream)
    log("boxes.1", "started")
    log("region-captions.1", "tab\tand \x1b[31mred")
    assert stream.getvalue() == "boxes.1           | started\nregion-captions.1 | tab\tand \\x1b[31mred\n"
