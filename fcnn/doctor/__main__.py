"""`python -m fcnn.doctor`: `fcnn doctor`, where what the command line needs is broken."""

from fcnn.doctor import diagnose

if __name__ == "__main__":
    report = diagnose()
    print(report.text())
    raise SystemExit(1 if report.problems else 0)
