import django.db.models.expressions
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('shop', '0001_initial'),
    ]

    operations = [
        migrations.CreateModel(
            name='Compo',
            fields=[
                ('pk', models.CompositePrimaryKey('a', 'b', blank=True, editable=False, primary_key=True, serialize=False)),
                ('a', models.IntegerField()),
                ('b', models.CharField(max_length=5)),
                ('v', models.IntegerField()),
            ],
        ),
        migrations.CreateModel(
            name='Gen',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('a', models.IntegerField()),
                ('twice', models.GeneratedField(db_persist=True, expression=django.db.models.expressions.CombinedExpression(models.F('a'), '*', models.Value(2)), output_field=models.IntegerField())),
                ('dd', models.IntegerField(db_default=5)),
            ],
        ),
    ]
