"""Tests of the list of common passwords: that it is what its script makes. scripts/test runs them."""

import sys
import unittest

sys.dont_write_bytecode = True
import password_blocklist as blocklist  # noqa: E402


class Blocklist(unittest.TestCase):
    def test_the_list_is_what_its_script_makes_and_has_three_thousand_passwords_at_least(self):
        self.assertIsNone(blocklist.check())

    def test_passwords_are_folded_counted_in_characters_and_taken_once_in_their_order(self):
        published = ["short", "PasswordPassword", "e\u0301" * 15, "passwordpassword", "\u00c9" * 14, "\u00e9" * 15]
        self.assertEqual(blocklist.long_ones(published), ["passwordpassword", "\u00e9" * 15])

    def test_the_most_common_ones_are_there(self):
        listed = blocklist.passwords()
        for password in ["1qaz2wsx3edc4rfv", "passwordpassword", "qwertyuiopasdfghjkl", "123456789012345"]:
            self.assertIn(password, listed[:1000])


if __name__ == "__main__":
    unittest.main()
