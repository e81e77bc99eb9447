"""Tests of what is compiled, and how: of Cargo's plan, without building it. scripts/test runs them."""

import subprocess
import sys
import unittest

try:
    import tomllib
except ModuleNotFoundError:  # Python before 3.11
    tomllib = None

sys.dont_write_bytecode = True
from machine import ROOT  # noqa: E402


def plan(*arguments):
    """Each package that a build compiles, with the features it is compiled with."""
    command = [str(ROOT / "scripts/cargo"), "tree", "--locked", "--workspace", "--prefix", "none", "--format", "{p}|{f}", *arguments]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return {line.removesuffix(" (*)") for line in listed.splitlines() if line}


def names(packages):
    return {package.split()[0] for package in packages}


class Plan(unittest.TestCase):
    def test_what_the_demo_has_compiled_the_tests_dont_compile_again(self):
        # With other features a package is compiled anew, and all that depend on it.
        demo = plan("--edges", "normal,build", "--features", "integration/embedded-engine")
        tests = plan("--edges", "normal,build,dev", "--features", "integration/embedded-engine")
        self.assertEqual(demo - tests, set())

    def test_without_the_embedded_engine_nothing_is_compiled_that_it_is_made_of(self):
        without = names(plan("--exclude", "llama", "--edges", "normal,build"))
        self.assertEqual(without & {"llama", "candle-core", "tokenizers", "minijinja", "rayon"}, set())

    def test_only_what_runs_hot_is_optimized_and_nothing_that_only_builds(self):
        if tomllib is None:
            self.skipTest("tomllib came with Python 3.11")
        profile = tomllib.loads((ROOT / "Cargo.toml").read_text())["profile"]["dev"]
        self.assertEqual(profile["opt-level"], 0)
        # `"*"` would come before what is said of builds.
        self.assertNotIn("opt-level", profile["package"]["*"])
        optimized = {name for name, settings in profile["package"].items() if settings.get("opt-level", 0) != 0}
        runs = names(plan("--edges", "normal,no-proc-macro", "--features", "integration/embedded-engine"))
        builds = names(plan("--edges", "build,normal", "--features", "integration/embedded-engine")) - runs
        self.assertEqual(optimized - runs, set())
        self.assertIn("prost-build", builds)

    def test_of_candle_only_the_core_is_compiled(self):
        engine = names(plan("--edges", "normal,build", "--features", "integration/embedded-engine"))
        self.assertEqual({name for name in engine if name.startswith("candle")}, {"candle-core"})


if __name__ == "__main__":
    unittest.main()
