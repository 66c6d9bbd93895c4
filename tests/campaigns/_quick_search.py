"""`fcnn search` that gives a worker up after seconds without a heartbeat, in place of a minute and a half."""

import sys

from fcnn.search import study

study.HEARTBEAT, study.GRACE = 1, 4

if __name__ == "__main__":
    from fcnn.cli import main

    sys.exit(main(sys.argv[1:]))
