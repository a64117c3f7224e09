"""Access and portability packages (Arts. 15 and 20 GDPR): collect, build, store, verify and download."""
