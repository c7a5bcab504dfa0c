"""The agent's command line: ``./fargate-agent``.

It reads a deployed agent with the very code that ships to the functions, which is no installed
package: hence the path.
"""

import os
import sys
from pathlib import Path

# The functions' log is for CloudWatch, not for a terminal.
os.environ.setdefault("POWERTOOLS_LOG_LEVEL", "CRITICAL")
sys.path.append(str(Path(__file__).parents[1] / "lambdas"))
