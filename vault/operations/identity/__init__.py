"""Who somebody is: one-time codes, sessions of people, apps that vouch, evidence that staff note."""
