"""Those who read what has changed since are told (Art. 19 GDPR), and chased until they say so."""
