"""What leaves the vault by itself: letters by SMTP, and events to other systems by HTTP."""
