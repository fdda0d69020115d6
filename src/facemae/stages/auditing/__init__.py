"""What `audit` is made of, one file a question; the verb itself is `facemae.stages.audit`."""
