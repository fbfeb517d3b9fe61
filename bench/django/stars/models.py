from django.db import models


class Reading(models.Model):
    """Twenty columns of the kinds that applications have."""

    taken = models.DateTimeField()
    day = models.DateField()
    hour = models.TimeField()
    name = models.CharField(max_length=80)
    slug = models.SlugField(unique=True)
    note = models.TextField(blank=True)
    email = models.EmailField()
    ok = models.BooleanField()
    checked = models.BooleanField(null=True)
    small = models.SmallIntegerField()
    count = models.IntegerField()
    total = models.BigIntegerField()
    price = models.DecimalField(max_digits=12, decimal_places=2)
    weight = models.FloatField()
    key = models.UUIDField()
    data = models.JSONField()
    ip = models.GenericIPAddressField(null=True)
    span = models.DurationField(null=True)
    blob = models.BinaryField(null=True)


class Tag(models.Model):
    name = models.CharField(max_length=40, unique=True)


class ViewingLocation(models.Model):
    """A place with a many-to-many."""

    name = models.CharField(max_length=80)
    latitude = models.FloatField()
    longitude = models.FloatField()
    tags = models.ManyToManyField(Tag)
