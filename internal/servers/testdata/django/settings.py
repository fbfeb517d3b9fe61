# Configured by its environment, which internal/servers sets.
import os

SECRET_KEY = 'x'
DEBUG = False
USE_TZ = os.environ.get('USE_TZ', '1') == '1'
TIME_ZONE = 'Europe/Paris'
DB = os.environ['DB']
INSTALLED_APPS = ['django.contrib.' + a for a in ('admin', 'auth', 'contenttypes', 'sessions', 'sites', 'redirects', 'flatpages')] + ['shop', 'evolved']
if DB == 'postgresql':
    INSTALLED_APPS += ['django.contrib.postgres', 'pgapp']
DEFAULT_AUTO_FIELD = 'django.db.models.BigAutoField'
SITE_ID = 1
MIDDLEWARE = []
PASSWORD_HASHERS = ['django.contrib.auth.hashers.MD5PasswordHasher']
DATABASES = {'default': {'ENGINE': 'django.db.backends.' + DB, 'NAME': os.environ['DB_NAME']}}
if DB != 'sqlite3':
    DATABASES['default'].update({k: os.environ['DB_' + k] for k in ('HOST', 'PORT', 'USER', 'PASSWORD')})
if DB == 'mysql':
    DATABASES['default']['OPTIONS'] = {'charset': 'utf8mb4'}
SILENCED_SYSTEM_CHECKS = ['admin.E403', 'admin.E408', 'admin.E409', 'admin.E410', 'admin.E406', 'mysql.E001', 'models.W042']
