"""scripts/study.py: how differences are decided, and that the page of results shows its tables. Run by

    python3 -m unittest discover tests/study
"""
import contextlib
import io
import json
import math
import sys
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
import study

RECORDS = ROOT / "docs" / "results" / "study"


def printed(function, *arguments):
    with contextlib.redirect_stdout(io.StringIO()) as text:
        function(*arguments)
    return text.getvalue()


def runs(*scores, clean=0.5):
    """Runs of one method with these scores in the worst case, and under BIM at the epsilon of the training."""

    def evaluation(score):
        points = {epsilon: [{"epsilon": epsilon, "miou": score}] for epsilon in (study.JUDGED, study.TRAINED)}
        curves = [{"attack": "bim", "points": points[study.TRAINED]}]
        return {"clean": {"miou": clean}, "worst_case": points[study.JUDGED], "curves": curves}

    return {seed: (None, evaluation(score)) for seed, score in enumerate(scores)}


class Verdicts(unittest.TestCase):
    def difference(self, first, second):
        return study.difference({"a": runs(*first), "b": runs(*second)}, "a", "b", ["worst"])

    def test_the_error_is_that_of_the_mean(self):
        self.assertAlmostEqual(study.error([0.1, 0.2, 0.3]), 0.1 / math.sqrt(3))

    def test_a_difference_beyond_two_errors_has_a_sign(self):
        # The error of the difference is 0.1 * sqrt(2 / 3) = 0.0816.
        spread = [0.0, 0.1, 0.2]
        self.assertEqual(self.difference([x + 0.17 for x in spread], spread), ("**+17.0 ± 8.2**", 1))
        self.assertEqual(self.difference([x + 0.16 for x in spread], spread), ("+16.0 ± 8.2", 0))
        self.assertEqual(self.difference([x - 0.17 for x in spread], spread), ("**-17.0 ± 8.2**", -1))

    def test_a_single_seed_decides_nothing(self):
        self.assertEqual(self.difference([0.9], [0.1]), ("+80.0", 0))

    def test_a_statement_needs_both_sets(self):
        high, low = runs(0.50, 0.51, 0.52), runs(0.10, 0.11, 0.12)

        def verdict(*sets):
            pairs = zip(study.SETS, sets)
            found = {data: {"random_fgsm": first, "fgsm": second} for data, (first, second) in pairs}
            lines = printed(study.verdicts, found, 2).splitlines()
            row = next(line for line in lines if line.startswith("| Random FGSM - FGSM |"))
            return row.split("|")[-2].strip()

        self.assertEqual(verdict((high, low), (high, low)), "confirmed")
        self.assertEqual(verdict((low, high), (low, high)), "refuted")
        self.assertEqual(verdict((high, low), (low, high)), "undecided here")
        self.assertEqual(verdict((high, low), (high, high)), "undecided here")
        self.assertEqual(verdict((high, low)), "undecided here")

    def test_kendalls_tau_counts_pairs(self):
        self.assertEqual(study.tau([1, 2, 3, 4], [1, 2, 3, 4]), 1)
        self.assertEqual(study.tau([1, 2, 3, 4], [4, 3, 2, 1]), -1)
        self.assertAlmostEqual(study.tau([1, 2, 3, 4], [1, 2, 4, 3]), 4 / 6)


class Records(unittest.TestCase):
    def test_restored_runs_give_the_same_records(self):
        name = "seed-0-camvid-fgsm"
        with tempfile.TemporaryDirectory() as folder:
            kept, again = Path(folder, "kept"), Path(folder, "runs")
            (kept / name).mkdir(parents=True)
            for file in (RECORDS / name).iterdir():
                (kept / name / file.name).write_bytes(file.read_bytes())
            study.restore(kept, again)
            outcomes = again / "sweep" / "outcomes"
            outcomes.mkdir(parents=True)
            (outcomes / f"{name}.json").write_text(json.dumps({"status": 0}))
            study.collect(again, Path(folder, "collected"))
            for file in (kept / name).iterdir():
                with self.subTest(file=file.name):
                    self.assertEqual(Path(folder, "collected", name, file.name).read_bytes(), file.read_bytes())

    def test_no_record_has_a_path_of_a_machine(self):
        text = 'command: "/home/a/b/robustseg run /home/a/b/runs/x.yaml", data: /data/CamVid'
        self.assertEqual(study.without_paths(text), 'command: "robustseg run runs/x.yaml", data: CamVid')

    def test_the_page_shows_the_tables_of_the_records(self):
        page = (ROOT / "docs" / "results.md").read_text()
        tables = printed(study.tables, RECORDS) + printed(study.tables, RECORDS.parent / "overfitting")
        for block in tables.strip().split("\n\n"):
            if block.startswith("|"):
                with self.subTest(table=block.splitlines()[0]):
                    self.assertIn(block + "\n", page)

    def test_the_readme_shows_scores_of_the_records(self):
        def rows(text, columns):
            cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
            return {row[0]: [row[column] for column in columns] for row in cells if len(row) > max(columns)}

        records = printed(study.all_scores, "camvid", study.by_set(study.load(RECORDS))["camvid"])
        expected = rows(records, [1, 3, 8])
        readme = (ROOT / "README.md").read_text()
        shown = rows(readme[readme.index("| method | clean | BIM-10 | worst case |"):].split("\n\n")[0], [1, 2, 3])
        self.assertEqual(len(shown), 10)
        for method, scores in list(shown.items())[2:]:
            with self.subTest(method=method):
                self.assertEqual(scores, expected[method.removesuffix(" (no attack)")])


if __name__ == "__main__":
    unittest.main()
