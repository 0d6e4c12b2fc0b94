import re

import benchmarks.predict_gpu as script

SMALL = ["--device", "cpu", "--precision", "32", "--sizes", "32x48", "--batches", "1", "2", "--repeats", "1"]


def test_a_small_run_on_a_cpu_prints_every_table(capsys, monkeypatch):
    monkeypatch.setattr(script, "ceilings", lambda device, dtype: "")
    monkeypatch.setattr(script, "find_spec", lambda name: None)
    assert script.main([*SMALL, "--modes", "eager"]) == 0
    printed = capsys.readouterr().out
    for batch in (1, 2):
        assert f"network, {batch} x 32 x 48" in printed
    assert len(re.findall(r"segnet, separable=(?:true|false), eager +[\d.]+/s, ratio [\d.]+", printed)) == 4
    assert len(re.findall(r"shifted products +[\d.]+/s", printed)) == 3
    assert "waits of a training step: not known on a CPU" in printed
