from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [('evolved', '0001_initial')]
    operations = [
        migrations.RenameField('Item', 'rack', 'shelf'),
        migrations.RenameField(model_name='rack', old_name='name', new_name='label'),
        migrations.AlterField(
            model_name='item',
            name='price',
            field=models.DecimalField(decimal_places=3, max_digits=8),
        ),
        migrations.AddField(model_name='item', name='span', field=models.DurationField(null=True)),
        migrations.DeleteModel('Gone'),
    ]
