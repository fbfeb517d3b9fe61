import datetime

from django.conf import settings
from django.db import migrations, models

TWENTY = 4 * 5


def forwards(apps, schema_editor):
    """Nothing: [brackets, (and 'quotes """
    apps.get_model('evolved', 'Item').objects.filter(span=datetime.timedelta(0)).delete()


class Migration(migrations.Migration):

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ('evolved', '0002_more'),
    ]

    operations = [
        migrations.RenameModel(old_name='Rack', new_name='Shelf'),
        migrations.AlterModelTable(name='shelf', table='evolved_furniture'),
        migrations.AlterModelOptions(name='shelf', options={'ordering': ['label'], 'verbose_name': 'sh' 'elf'}),
        migrations.RemoveField(model_name='item', name='extra'),
        migrations.RunPython(forwards, migrations.RunPython.noop),
        migrations.AddField(
            model_name='item', name='serial', field=models.BigIntegerField(null=True, db_column='nr'), preserve_default=False,
        ),
        migrations.AddField(
            model_name='item', name='owners', field=models.ManyToManyField(db_table='evolved_owners', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AlterOrderWithRespectTo(name='item', order_with_respect_to='shelf'),
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.CreateModel(
                    name='Old',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('what', models.CharField(max_length=TWENTY)),
                    ],
                ),
            ],
            state_operations=[
                migrations.CreateModel(
                    name='Moved',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('what', models.CharField(max_length=TWENTY)),
                    ],
                    options={'db_table': 'evolved_old'},
                ),
            ],
        ),
    ]
