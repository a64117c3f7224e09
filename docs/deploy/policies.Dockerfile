# The vault with a company's own policies and settings, for clusters: each node gets the same ones, by the image's digest.
#   docker build --file docs/deploy/policies.Dockerfile --tag customer-data-vault-acme FOLDER
# FOLDER has `policies/` and `cdv.toml`, and nothing secret.
ARG VAULT=customer-data-vault
FROM ${VAULT}
COPY --chown=root:root cdv.toml /srv/vault/cdv.toml
COPY --chown=root:root policies /srv/vault/policies
# A mistake in the policies fails the build and not the start.
RUN ["cdv", "policy", "check", "/srv/vault/policies"]
