from alphacut.cli import doctor


def test_findings() -> None:
    findings = dict(doctor.examine())
    assert "cpu" in findings["devices"]
    assert "verified" in findings["embedded"]
    assert findings["self-test"].startswith("passed")
