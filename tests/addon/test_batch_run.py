# SPDX-License-Identifier: GPL-3.0-or-later
"""What a batch does in one piece."""

import signal

import pytest

from addon.headless.run import not_parted


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_to_end_waits_until_what_was_begun_is_done(number):
    done = []

    def leave(came, _frame):
        raise SystemExit(128 + came)

    def place_and_tell():
        with not_parted():
            done.append("placed")
            signal.raise_signal(number)
            done.append("told")

    before = signal.signal(number, leave)
    try:
        with pytest.raises(SystemExit) as leaving:
            place_and_tell()
        assert leaving.value.code == 128 + number
        assert done == ["placed", "told"]
        assert signal.getsignal(number) is leave
    finally:
        signal.signal(number, before)
