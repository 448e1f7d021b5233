"""Reading of compiled programs: what they do, what they need, and how long they take on a device."""
