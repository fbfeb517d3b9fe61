# Models whose tables and columns came to their names through migrations.
from django.contrib.auth.models import User
from django.db import models


class Shelf(models.Model):
    label = models.CharField(max_length=20)

    class Meta:
        db_table = 'evolved_furniture'
        ordering = ['label']
        verbose_name = 'shelf'


class Item(models.Model):
    shelf = models.ForeignKey(Shelf, on_delete=models.CASCADE)
    price = models.DecimalField(max_digits=8, decimal_places=3)
    span = models.DurationField(null=True)
    serial = models.BigIntegerField(null=True, db_column='nr')
    owners = models.ManyToManyField(User, db_table='evolved_owners')
    near = models.ManyToManyField(Shelf, related_name='+')

    class Meta:
        order_with_respect_to = 'shelf'


class Moved(models.Model):
    what = models.CharField(max_length=20)

    class Meta:
        db_table = 'evolved_old'
