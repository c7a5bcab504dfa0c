"""The agent's command line: ``./fargate-agent``.

It reads a deployed agent with the very code that ships to the functions, which is no installed
package: hence the path.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "lambdas"))
