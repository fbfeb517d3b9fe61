# Prints the default database of a Django project as a URL: python manage.py shell -c "$(cat database_url.py)"
from urllib.parse import quote, urlencode

from django.conf import settings

db = settings.DATABASES["default"]
engine = db["ENGINE"].rsplit(".", 1)[1]
if engine in ("sqlite3", "spatialite"):
    print("sqlite:" + str(db["NAME"]))
elif engine in ("postgresql", "postgis"):
    user = quote(db.get("USER") or "", safe="")
    if db.get("PASSWORD"):
        user += ":" + quote(db["PASSWORD"], safe="")
    where = {k: v for k, v in {"host": db.get("HOST"), "port": db.get("PORT")}.items() if v}
    where.update({k: v for k, v in (db.get("OPTIONS") or {}).items() if k.startswith("ssl")})
    print(f"postgres://{user + '@' if user else ''}/{quote(str(db['NAME']), safe='')}?{urlencode(where)}".rstrip("?"))
else:
    raise SystemExit(f"Holdfast does not back up {db['ENGINE']} yet")
