"""Tests of build_progress: scripts/test runs them."""

import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
import build_progress  # noqa: E402
from build_progress import LONG_UNITS, UNIT_SECONDS, Progress  # noqa: E402

SCRIPTS = Path(__file__).resolve().parent
# Ends when a file is there: only then is the build over.
BUILD_SCRIPT = """
fn main() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("go-on");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !file.exists() {
        assert!(std::time::Instant::now() < deadline, "nobody said to go on");
        std::thread::yield_now();
    }
    println!("cargo:warning=a word of the build script");
}
"""


def bar(done, total, *running):
    return f"    Building [=====>      ] {done}/{total}: {', '.join(running)}"


def seen(*bars, processors=2):
    """All at the beginning."""
    progress = Progress(processors)
    for line in bars:
        assert progress.read(line, 0), line
    return progress


class Estimates(unittest.TestCase):
    def test_only_the_bar_of_a_build_is_counted(self):
        progress = Progress(2)
        for line in ["   Compiling half v2.7.1", "  Downloading [==>  ] 3/20: half", "error: [x] 1/2", ""]:
            self.assertFalse(progress.read(line, 0), line)
        self.assertTrue(progress.read("\x1b[1m\x1b[36m    Building\x1b[0m [==>  ] 12/390: half, syn(build)          ", 0))
        self.assertEqual((progress.done, progress.total, progress.running), (12, 390, {"half", "syn(build)"}))

    def test_the_sentence_says_how_far_it_is_and_how_long_it_will_take(self):
        self.assertRegex(seen(bar(0, 800)).sentence(1), r"^compiling: 0 of 800, about \d+ minutes left$")
        self.assertEqual(seen(bar(799, 800)).sentence(300), "compiling: 799 of 800, less than a minute left")

    def test_a_slow_machine_is_told_from_a_fast_one_once_it_has_shown(self):
        fast, slow = seen(bar(0, 800), bar(400, 800)), seen(bar(0, 800), bar(400, 800))
        self.assertGreater(slow.seconds_left(1000), 3 * fast.seconds_left(100))

    def test_what_was_there_already_makes_no_machine_fast(self):
        fresh, built = seen(bar(200, 250), bar(202, 250)), seen(bar(0, 250), bar(202, 250))
        self.assertGreater(fresh.seconds_left(100), 2 * built.seconds_left(100))

    def test_a_unit_that_takes_long_counts_until_it_is_done(self):
        name, seconds = max(LONG_UNITS.items(), key=lambda unit: unit[1])
        before, during = seen(bar(0, 800), bar(100, 800)), seen(bar(0, 800), bar(100, 800, name))
        after = seen(bar(0, 800), bar(100, 800, name), bar(101, 800, "half"))
        self.assertEqual(before.seconds_left(0), during.seconds_left(0))
        self.assertGreater(before.seconds_left(10), during.seconds_left(10))
        self.assertGreater(during.seconds_left(10), after.seconds_left(10))
        # However many processors there are, it keeps one of them busy.
        many = seen(bar(0, 800), bar(799, 800, name), processors=64)
        self.assertGreater(many.seconds_left(1), seconds / 2)
        self.assertGreater(during.seconds_left(60) - after.seconds_left(60), seconds / 2)
        # In a folder where most is built, it is no more than what is seen of it.
        self.assertLess(seen(bar(790, 800)).seconds_left(1), 10)

    def test_the_estimate_falls_as_the_build_goes_on(self):
        progress = seen(bar(0, 800))
        estimates = []
        for done in range(0, 801, 100):
            progress.read(bar(done, 800), done * UNIT_SECONDS / 2)
            estimates.append(progress.seconds_left(done * UNIT_SECONDS / 2))
        self.assertEqual(estimates, sorted(estimates, reverse=True))


class RealBuilds(unittest.TestCase):
    """A small package of its own, and the cargo that is installed."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        (self.folder / "src").mkdir()
        (self.folder / "src/main.rs").write_text("fn main() {}\n")
        (self.folder / "build.rs").write_text(BUILD_SCRIPT)
        (self.folder / "Cargo.toml").write_text('[package]\nname = "small"\nedition = "2024"\n[workspace]\n')

    def start(self):
        program = (
            "import sys, build_progress as b\n"
            "b.LINE_SECONDS = b.FIRST_LINE_SECONDS = 0\n"
            f"sys.exit(b.run(['cargo', 'build', '--offline', '--target-dir', {str(self.folder / 'target')!r}], {str(self.folder)!r}))"
        )
        process = subprocess.Popen([sys.executable, "-B", "-c", program], cwd=SCRIPTS, stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        return process

    def test_while_it_compiles_plain_lines_say_how_far_it_is(self):
        process = self.start()
        said = []
        for line in process.stderr:
            said.append(line)
            if line.startswith("compiling: "):
                (self.folder / "go-on").touch()
        self.assertEqual(process.wait(), 0, said)
        text = "".join(said)
        self.assertRegex(text, r"compiling: \d of \d, less than a minute left\n")
        # Cargo's own words are passed on, but for those that the count says shorter.
        self.assertIn("a word of the build script", text)
        self.assertIn("Finished", text)
        for unwanted in ["\x1b", "\r", "Compiling", "Building ["]:
            self.assertNotIn(unwanted, text)

    def test_a_failed_build_says_why(self):
        (self.folder / "go-on").touch()
        (self.folder / "src/main.rs").write_text("fn main() { nothing_of_the_kind() }\n")
        process = self.start()
        text = process.stderr.read()
        self.assertEqual(process.wait(), 101, text)
        self.assertIn("cannot find function `nothing_of_the_kind`", text)


if __name__ == "__main__":
    unittest.main()
