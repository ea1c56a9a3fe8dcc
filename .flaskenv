# Lets `flask recipients`, `flask init-db` and the others run without --app.
FLASK_APP=email_app
