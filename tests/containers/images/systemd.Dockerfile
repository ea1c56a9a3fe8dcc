# A machine with systemd, on which the commands of docs/deploy.md install the project, which lies in /src.
FROM python:3.11-slim-bookworm
RUN apt-get update -qq \
    && apt-get install -qq --no-install-recommends systemd >/dev/null \
    && rm -rf /var/lib/apt/lists/*
COPY edit-env.sh /usr/local/bin/edit-env
COPY project /src
ENV EDITOR=edit-env
CMD ["/lib/systemd/systemd"]
