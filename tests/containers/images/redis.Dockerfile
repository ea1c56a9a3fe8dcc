# Stands in for redis:7, from Debian's packages: the same user and folder.
FROM debian:bookworm-slim
RUN groupadd --system --gid 999 redis \
    && useradd --system --gid 999 --uid 999 redis \
    && apt-get update -qq \
    && apt-get install -qq --no-install-recommends redis-server >/dev/null \
    && rm -rf /var/lib/apt/lists/* \
    && install -d -o redis -g redis /data
COPY redis-entrypoint.sh /usr/local/bin/docker-entrypoint.sh
VOLUME /data
WORKDIR /data
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["redis-server"]
