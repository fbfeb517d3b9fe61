from django.db import migrations, models


class Migration(migrations.Migration):

    replaces = [('evolved', '0001_initial'), ('evolved', '0002_more')]

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.CreateModel(
            name='Rack',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('label', models.CharField(max_length=20)),
            ],
        ),
        migrations.CreateModel(
            name='Item',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('price', models.DecimalField(decimal_places=3, max_digits=8)),
                ('extra', models.IntegerField(default=0)),
                ('shelf', models.ForeignKey(on_delete=models.CASCADE, to='evolved.rack')),
                ('near', models.ManyToManyField(related_name='+', to='evolved.rack')),
                ('span', models.DurationField(null=True)),
            ],
        ),
    ]
