"""The Invoke door of this checkout; see ci/invoke_door.py."""

from ci.invoke_door import namespace

ns = namespace()
