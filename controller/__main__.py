"""`python -m controller` is the `jobwarden` command."""

import sys

from controller.cli.main import main

sys.exit(main())
