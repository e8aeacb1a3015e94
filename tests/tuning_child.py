"""The process of a tuning run at the priority of the test; a test starts and kills it.

python tests/tuning_child.py FOLDER
"""

import sys

from workers.tuning.process import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
