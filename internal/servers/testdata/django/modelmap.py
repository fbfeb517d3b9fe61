# Prints what Django knows of a project's models, as JSON on one line:
#   python manage.py shell -v 0 < modelmap.py > map.json
import json, django
from django.apps import apps
from django.conf import settings
from django.db import connection
from django.db.models.base import ModelState


def kind(f):
    c = type(f)
    out = {"kind": f.get_internal_type(), "class": c.__module__ + "." + c.__name__, "decimal_places": getattr(f, "decimal_places", None)}
    base = getattr(f, "base_field", None)
    if base is not None and out["kind"] == "ArrayField":
        out["base"] = kind(base)
    return out


def puppet(m, path, depth):
    # An instance whose every field holds its own name; rows related to it likewise.
    o = m.__new__(m)
    o._state = ModelState()
    for f in m._meta.concrete_fields:
        o.__dict__[f.attname] = path + f.name
        if f.remote_field and depth:
            f.set_cached_value(o, puppet(f.remote_field.model, path + f.name + ".", depth - 1))
    return o


def natural_key(m):
    # The fields that natural_key() returns; None when it does more than return fields.
    if not hasattr(m, "natural_key"):
        return None
    try:
        key = puppet(m, "\1", 2).natural_key()
        if key and all(type(x) is str and x[:1] == "\1" and x.count("\1") == 1 for x in key):
            return [x[1:] for x in key]
    except Exception:
        pass
    return None


def main():
    out = {"format": 1, "django": django.get_version(), "use_tz": settings.USE_TZ, "time_zone": settings.TIME_ZONE,
           "vendor": connection.vendor, "user_model": settings.AUTH_USER_MODEL.lower(), "models": []}
    for m in apps.get_models():
        o = m._meta
        e = {"label": o.label_lower, "table": o.db_table, "proxy": o.proxy, "managed": o.managed,
             "concrete": o.concrete_model._meta.label_lower,
             "pk": [f.name for f in o.pk_fields] if hasattr(o, "pk_fields") else [o.pk.name],
             "ordering": [str(x) for x in o.ordering], "fields": [], "m2m": [],
             "natural": hasattr(m, "natural_key"), "natural_key": natural_key(m),
             "natural_deps": list(getattr(getattr(m, "natural_key", None), "dependencies", []))}
        for f in o.local_fields:
            r = f.remote_field
            e["fields"].append({"name": f.name, "column": f.column, **kind(f),
                "pk": f.primary_key, "null": f.null, "generated": getattr(f, "generated", False),
                "to": r.model._meta.label_lower if r else None, "to_field": getattr(r, "field_name", None) if r else None,
                "parent_link": bool(r and getattr(r, "parent_link", False))})
        for f in o.local_many_to_many:
            t = f.remote_field.through._meta
            e["m2m"].append({"name": f.name, "table": t.db_table, "auto": bool(t.auto_created), "to": f.remote_field.model._meta.label_lower,
                "from_column": f.m2m_column_name(), "to_column": f.m2m_reverse_name()})
        out["models"].append(e)
    print(json.dumps(out))


main()
