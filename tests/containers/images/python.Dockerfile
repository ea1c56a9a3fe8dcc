# Stands in for python:3.11-slim-bookworm, from Debian's packages.
FROM debian:bookworm-slim
RUN apt-get update -qq \
    && apt-get install -qq --no-install-recommends python3 python3-venv python3-pip ca-certificates tzdata >/dev/null \
    && rm -rf /var/lib/apt/lists/* /usr/lib/python3.11/EXTERNALLY-MANAGED \
    && ln -s /usr/bin/python3 /usr/local/bin/python
# Packages are fetched as this machine fetches them.
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt
CMD ["python3"]
