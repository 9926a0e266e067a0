import sys
from pathlib import Path

# The program runs as a script, so its packages stand at the project's root.
sys.path.insert(0, str(Path(__file__).parent.parent))
