"""Packages of access and portability: what is in them, how they are built, kept and handed out."""
