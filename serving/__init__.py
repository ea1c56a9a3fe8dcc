"""What `./start_flask.sh` and `start_flask.bat` run: the web server and the sender, which start and stop together."""
