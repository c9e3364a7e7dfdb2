"""scripts/gpu_check.sh with programs that crash, hang and never end, and killed at any moment. Run by

    python3 -m unittest discover tests/gpu_check
"""
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
SCRIPT = os.path.join(HERE, "..", "..", "scripts", "gpu_check.sh")
PROGRAMS = ["robustseg", "devices", "precision", "goldens", "peer.py", "probe.py"]
# What comes back: so many files, of so many bytes.
FILES, BYTES = 6, 16 << 20


class GpuCheck(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.at = lambda *names: os.path.join(self.folder.name, *names)
        for name in ("bring", "wishes", "out"):
            os.mkdir(self.at(name))
        for name in PROGRAMS:
            with open(self.at("bring", name), "w") as file:
                file.write(f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {HERE!r})\nimport fakes\nfakes.main()\n")
            os.chmod(self.at("bring", name), 0o755)
        # A length of sleep that no other process has names the processes of this test.
        self.sleep = f"{random.randrange(10**5, 10**6)}.5"

    def wish(self, program, *wishes):
        with open(self.at("wishes", program), "w") as file:
            file.write(" ".join(wishes))

    def start(self, call, *arguments):
        command = [SCRIPT, call, "--rehearse", "--bring", self.at("bring"), "--out", self.at("out"), "--caches", self.at("caches")]
        command += ["--brought-caches", self.at("brought.tar.xz"), "--python", sys.executable, "--peer", self.at("bring", "peer.py")]
        command += ["--probe", self.at("bring", "probe.py"), "--data", self.at("data.tar"), "--test-seconds", "4", *arguments]
        environment = {**os.environ, "FAKES": self.at("wishes"), "FAKE_SLEEP": self.sleep, "PYTHONDONTWRITEBYTECODE": "1"}
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
        )

    def run_call(self, call, *arguments):
        process = self.start(call, *arguments)
        text, _ = process.communicate(timeout=90)
        return process.returncode, text, self.results(call)

    def results(self, call):
        with open(self.at("out", call + ".json")) as file:
            return json.load(file)

    def assert_little_came_back(self):
        files = os.listdir(self.at("out"))
        self.assertLessEqual(len(files), FILES, files)
        for name in files:
            self.assertLess(os.path.getsize(self.at("out", name)), BYTES)

    def assert_nothing_runs_on(self):
        deadline = time.monotonic() + 5
        while True:
            found = subprocess.run(["pgrep", "-f", self.sleep], capture_output=True, text=True).stdout.split()
            found += subprocess.run(["pgrep", "-f", self.folder.name], capture_output=True, text=True).stdout.split()
            if not found:
                return
            self.assertLess(time.monotonic(), deadline, f"processes {found} are still there")
            time.sleep(0.1)

    def test_a_check_tells_what_works_and_brings_its_caches_back(self):
        status, text, results = self.run_call("check")
        self.assertEqual(status, 0, text)
        self.assertEqual(results["state"], "done")
        self.assertEqual(results["tests"]["passed"], 6)
        self.assertEqual(results["probe"], [{"case": 0, "ms": 1.0}])
        self.assertEqual(results["first_figure"]["step_s"]["basic"], 0.05)
        self.assertEqual(results["left_out"], "")
        chosen = {"cuDNN's older interface": 1, "graph": 1}
        self.assertEqual(results["chosen"], {
            "products": chosen, "folded_norms": {"separate pass": 1}, "milliseconds": 0.5, "replaced_milliseconds": 2.0,
            "repeated": 1, "refused": ["it keeps memory"],
        })
        self.assertEqual(set(results["timings"]), {"peer compiles", "first figure"})
        self.assertEqual(sorted(os.listdir(self.at("out"))), ["caches.tar.xz.0", "check.json", "check.log"])
        self.assert_nothing_runs_on()

    def test_what_a_check_brought_back_is_what_a_measurement_begins_with(self):
        self.run_call("check")
        with open(self.at("caches", "inductor", "graph"), "rb") as file:
            before = file.read()
        # Another machine, with the pieces in the place that they are carried to.
        os.rename(self.at("out", "caches.tar.xz.0"), self.at("brought.tar.xz.0"))
        os.rename(self.at("caches"), self.at("former"))
        self.wish("peer", "fail")
        status, text, results = self.run_call("measure")
        self.assertEqual(results["caches"], "brought, 1 pieces")
        with open(self.at("caches", "inductor", "done")):
            pass
        self.assertEqual(status, 1, text)
        self.assertEqual(len(before), 1000)

    def test_without_a_gpu_a_check_stops_at_once(self):
        self.wish("robustseg", "no_gpu")
        status, _, results = self.run_call("check")
        self.assertEqual(status, 1)
        self.assertIn("not found", results["gpu"])
        self.assertNotIn("tests", results)

    def test_a_crash_costs_that_test_alone_and_is_tried_again_with_launches_that_wait(self):
        self.wish("devices_adds", "unless_blocking", "crash")
        self.wish("precision_multiplies", "crash")
        status, _, results = self.run_call("check")
        self.assertEqual(status, 1)
        rows = results["tests"]["results"]
        self.assertEqual(rows["devices adds"], "failed: ended by SIGSEGV; passed with launches that wait")
        self.assertEqual(rows["precision multiplies"], "failed: ended by SIGSEGV; again: ended by SIGSEGV")
        self.assertEqual(results["tests"]["passed"], 4)
        self.assertIn("about to crash", results["parts"]["devices adds"]["output"])
        self.assert_little_came_back()

    def test_a_hang_costs_no_more_than_its_limit_and_leaves_no_process(self):
        self.wish("devices_adds", "hang")
        status, _, results = self.run_call("check")
        self.assertEqual(status, 1)
        self.assertIn("took longer than 4 s", results["tests"]["results"]["devices adds"])
        self.assertEqual(results["tests"]["passed"], 5)
        self.assert_nothing_runs_on()

    def test_a_peer_that_never_ends_costs_its_figure_alone(self):
        self.wish("peer", "hang")
        _, _, results = self.run_call("check", "--seconds", "15")
        self.assertEqual(results["state"], "done")
        self.assertIn("took longer", results["parts"]["peer compiles"]["status"])
        self.assertEqual(results["tests"]["passed"], 6)
        self.assertIn("caches.tar.xz.0", os.listdir(self.at("out")))
        self.assert_nothing_runs_on()

    def test_a_first_figure_that_crashes_is_tried_again_with_predicted_algorithms(self):
        self.wish("bench", "crash")
        status, _, results = self.run_call("check")
        self.assertEqual(status, 1)
        self.assertIn("first figure, again", results["parts"])
        self.assertEqual(results["tests"]["passed"], 6)

    def test_a_way_that_crashes_is_left_out_from_there_on(self):
        self.wish("ways", "cublaslt")
        status, text, results = self.run_call("check")
        self.assertEqual(status, 0, text)
        self.assertEqual(results["left_out"], "cublaslt")
        self.assertIn("SIGSEGV", results["parts"]["ways without graph"]["status"])
        self.assertEqual(results["first_figure"]["step_s"]["basic"], 0.05)

    def test_a_measurement_that_crashes_is_tried_again_without_the_newer_ways(self):
        self.wish("ways", "cuda_graphs,folding,graph,cublaslt,padding")
        status, text, results = self.run_call("measure")
        self.assertEqual(status, 0, text)
        self.assertEqual(results["left_out"], "cuda_graphs,folding,graph,cublaslt,padding")

    def test_a_measurement_says_what_was_reached_and_what_was_wanted(self):
        status, text, results = self.run_call("measure")
        self.assertEqual(status, 0, text)
        rows = {row["figure"]: row for row in results["figures"]}
        self.assertEqual(rows["472x472, basic, images/s"]["reached"], 2.0)
        self.assertEqual(rows["472x472, basic, images/s"]["met"], True)
        self.assertEqual(rows["peak memory, bytes"]["reached"], 0.5)
        self.assertEqual(rows["additional time, fast_newton, %"]["met"], True)
        self.assertIsNone(rows["share of the measured bf16 rate, basic"]["met"])
        with open(self.at("out", "convolutions.json")) as file:
            self.assertIn("472 ours, 1", json.load(file))
        self.assertIn("not measured", text)
        self.assert_little_came_back()

    def test_terminated_a_call_writes_what_it_has_and_kills_its_parts(self):
        self.wish("peer", "hang")
        process = self.start("measure")
        self.wait_for("measure", lambda results: "472 peer" in results["running"])
        process.terminate()
        process.communicate(timeout=5)
        self.assertEqual(process.returncode, 143)
        results = self.results("measure")
        self.assertEqual(results["state"], "ended by SIGTERM")
        self.assertEqual(results["timings"]["472 ours, 1"]["step_s"]["basic"], 0.05)
        self.assertEqual(results["figures"][0]["ours"], 16 / 0.05)
        self.assert_nothing_runs_on()
        self.assert_little_came_back()

    def test_killed_a_call_has_written_what_it_had_and_its_parts_die_too(self):
        self.wish("peer", "hang")
        process = self.start("measure")
        self.wait_for("measure", lambda results: "472 peer" in results["running"])
        process.kill()
        process.communicate(timeout=5)
        results = self.results("measure")
        self.assertEqual(results["state"], "running")
        self.assertEqual(results["timings"]["472 ours, 1"]["step_s"]["basic"], 0.05)
        self.assert_nothing_runs_on()
        self.assert_little_came_back()

    def test_killed_at_any_moment_a_call_leaves_json_that_can_be_read(self):
        self.wish("devices_adds", "hang")
        for moment in (0.3, 0.6, 1.0, 1.5, 2.2):
            process = self.start("check")
            time.sleep(moment)
            process.kill()
            process.communicate(timeout=5)
            if os.path.exists(self.at("out", "check.json")):
                self.assertEqual(self.results("check")["state"], "running")
            self.assert_nothing_runs_on()
            self.assert_little_came_back()

    def test_a_study_brings_back_results_of_all_methods_that_ended_and_no_checkpoints(self):
        with tarfile.open(self.at("data.tar"), "w") as archive:
            archive.add(HERE, "camvid")
        self.wish("run_bim", "crash")
        status, text, results = self.run_call("study")
        self.assertEqual(status, 1, text)
        self.assertEqual(results["methods"]["bim"]["status"], "ended by SIGSEGV")
        self.assertIsNone(results["methods"]["bim"]["scores"])
        self.assertEqual(results["methods"]["fgsm"]["scores"]["curves"]["fgsm"]["0.03"], 0.25)
        with tarfile.open(self.at("out", "runs.tar.xz.0")) as archive:
            names = archive.getnames()
        self.assertIn("./basic/report.html", names)
        self.assertFalse([name for name in names if "checkpoints" in name])
        self.assert_nothing_runs_on()
        self.assert_little_came_back()

    def wait_for(self, call, condition):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                if condition(self.results(call)):
                    return
            except (OSError, ValueError):
                pass
            time.sleep(0.05)
        self.fail("that did not happen")


if __name__ == "__main__":
    unittest.main()
