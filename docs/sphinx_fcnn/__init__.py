"""What the documentation site needs beside Sphinx's own extensions: `docs/conf.py` names `extension`."""
